/**
 * HTTP for isomorphic-git over undici: connect, idle and total deadlines, the proxy variables, and
 * redirects of the discovery request within one host.
 * Always holds: the login goes to the origin of the repository's URL (or the same host over https)
 * and nowhere else, and the library never sees it; so neither a redirect nor a setting planted in
 * the git directory can send it away.
 */
import type { GitHttpRequest, GitHttpResponse, HttpClient } from 'isomorphic-git';
import { type Dispatcher, EnvHttpProxyAgent, request } from 'undici';
import { BerthError } from '../shared/errors.ts';
import { version } from '../shared/version.ts';

export interface TransportOptions {
  /** The repository's URL, without a login. */
  url: string;
  login?: { username: string; token: string };
  /** The total deadline, or the wish to stop. */
  signal: AbortSignal;
  /** Milliseconds until a connection must stand. */
  connectTimeout?: number;
  /** Milliseconds without a byte after which a connection is dead. */
  idleTimeout?: number;
}

export interface Transport {
  readonly http: HttpClient;
  /** For others who talk to hosts outside, with the same proxies and deadlines. */
  readonly dispatcher: Dispatcher;
  /** Bytes of the bodies received so far. */
  readonly bytes: number;
  /** What broke a body since `forget`, if anything: the library takes some broken ones for whole. */
  failure(): unknown;
  forget(): void;
  /** Milliseconds that the server asked to be left alone for, in its last answer. */
  readonly retryAfter: number | undefined;
  close(): Promise<void>;
}

const mostRedirects = 5;

export function createTransport(options: TransportOptions): Transport {
  const { signal, connectTimeout = 10_000, idleTimeout = 30_000 } = options;
  const dispatcher = new EnvHttpProxyAgent({
    connect: { timeout: connectTimeout },
    headersTimeout: idleTimeout,
    bodyTimeout: idleTimeout,
  });
  const authorization =
    options.login &&
    `Basic ${Buffer.from(`${options.login.username}:${options.login.token}`).toString('base64')}`;
  /** Where the repository lies; moves when a redirect says so. */
  let base = options.url;
  let bytes = 0;
  let bodies: Body[] = [];
  let retryAfter: number | undefined;

  const send = async (url: string, wanted: GitHttpRequest, body: Buffer | undefined) => {
    const allowed = sameHost(new URL(options.url), new URL(url));
    return request(url, {
      method: (wanted.method ?? 'GET') as Dispatcher.HttpMethod,
      headers: {
        ...wanted.headers,
        'user-agent': `git/berth-${version}`,
        ...(authorization && allowed ? { authorization } : {}),
      },
      body: body ?? null,
      dispatcher,
      signal,
    });
  };

  const http: HttpClient = {
    async request(wanted): Promise<GitHttpResponse> {
      const requestBody = wanted.body && (await collect(wanted.body));
      let url = wanted.url.startsWith(options.url)
        ? base + wanted.url.slice(options.url.length)
        : wanted.url;
      for (let redirects = 0; ; redirects++) {
        const answer = await send(url, wanted, requestBody);
        const { location } = answer.headers;
        if (answer.statusCode >= 300 && answer.statusCode < 400 && location !== undefined) {
          await answer.body.dump();
          const next = new URL(String(location), url);
          const moved = follow(new URL(url), next, wanted, redirects);
          url = next.href;
          base = moved;
          continue;
        }
        const body = new Body(answer.body, (length) => {
          bytes += length;
        });
        bodies.push(body);
        const seconds = Number(answer.headers['retry-after']);
        retryAfter = seconds > 0 ? seconds * 1_000 : undefined;
        return {
          url,
          statusCode: answer.statusCode,
          statusMessage: answer.statusText,
          headers: flat(answer.headers),
          body,
        };
      }
    },
  };

  return {
    http,
    dispatcher,
    get bytes() {
      return bytes;
    },
    failure: () => bodies.find((body) => body.error !== undefined)?.error,
    forget() {
      bodies = [];
    },
    get retryAfter() {
      return retryAfter;
    },
    close: () => dispatcher.destroy(),
  };
}

/** The repository's new URL, if the redirect may be followed. */
function follow(from: URL, to: URL, wanted: GitHttpRequest, redirects: number): string {
  const suffix = '/info/refs';
  if (!sameHost(from, to)) {
    throw new BerthError(
      'remote_refused',
      `cannot use the repository: ${from.host} redirects to ${to.origin}, where the token must not go; if that is right, set BERTH_REPO to ${to.origin}${to.pathname.replace(suffix, '')}`,
    );
  }
  const discovery = wanted.method !== 'POST' && to.pathname.endsWith(suffix);
  if (!discovery || redirects >= mostRedirects) {
    throw new BerthError(
      'remote_refused',
      `cannot use the repository: ${from.host} redirects to ${to.origin}${to.pathname}, which is no git repository; correct BERTH_REPO`,
    );
  }
  return to.origin + to.pathname.slice(0, -suffix.length);
}

/** The same origin, or the same host name over https instead of http. */
function sameHost(from: URL, to: URL): boolean {
  if (from.origin === to.origin) return true;
  return from.hostname === to.hostname && from.protocol === 'http:' && to.protocol === 'https:';
}

/** A body that counts its bytes and remembers what broke it; the library also sets `error`. */
class Body implements AsyncIterableIterator<Uint8Array> {
  error: unknown;
  #chunks: AsyncIterator<Uint8Array>;
  #count: (length: number) => void;

  constructor(stream: AsyncIterable<Uint8Array>, count: (length: number) => void) {
    this.#chunks = stream[Symbol.asyncIterator]();
    this.#count = count;
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    try {
      const result = await this.#chunks.next();
      if (!result.done) this.#count(result.value.length);
      return result;
    } catch (error) {
      this.error ??= error;
      throw error;
    }
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    await this.#chunks.return?.().catch(() => undefined);
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** The library gives a body as an array or an iterator of chunks; it is sent with its length. */
async function collect(body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function flat(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, String(value ?? '')]),
  );
}
