/**
 * HTTP to the git server, over undici: connect, idle and total deadlines, the proxy variables, redirects
 * of the discovery request within one host, and a limit of received bytes.
 * Invariants: the login goes to the origin of the repository's URL (or the same host over https)
 * and to no other host. isomorphic-git never sees the login, so neither a redirect nor a setting planted
 * in the git directory can send the login away.
 */
import type { GitHttpRequest, GitHttpResponse } from 'isomorphic-git';
import { type Dispatcher, EnvHttpProxyAgent, request } from 'undici';
import { BerthError } from '../../shared/errors.ts';
import { version } from '../../shared/version.ts';
import { tooLarge } from './remote-errors.ts';

export interface Patience {
  /** Milliseconds within which a connection must be established. */
  connectTimeout?: number | undefined;
  /** Milliseconds without a byte after which a connection counts as dead. */
  idleTimeout?: number | undefined;
}

export interface TransportOptions extends Patience {
  /** The repository's URL, without a login. */
  url: string;
  login?: { username: string; token: string };
  /** Aborts at the total deadline, or when the program stops. */
  signal: AbortSignal;
  /** The most bytes to receive. */
  mostBytes?: number;
}

export interface GitRequest extends Omit<GitHttpRequest, 'body'> {
  body?: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export interface GitAnswer extends Omit<GitHttpResponse, 'body'> {
  body: AsyncIterable<Uint8Array>;
}

export interface Transport {
  /**
   * Sends one request of the git protocol, and follows redirects of the discovery request.
   * @throws BerthError `remote_refused`, or an error of undici; the body also throws once the limit of
   *   received bytes is passed
   */
  request(wanted: GitRequest): Promise<GitAnswer>;
  /** For other requests to hosts outside, with the same proxies and deadlines. */
  readonly dispatcher: Dispatcher;
  /** Bytes of all bodies received so far. */
  readonly bytes: number;
  close(): Promise<void>;
}

const mostRedirects = 5;

/** Connections that follow the proxy variables, with a deadline for each step. */
export function openDispatcher({ connectTimeout = 10_000, idleTimeout = 30_000 }: Patience = {}) {
  return new EnvHttpProxyAgent({
    connect: { timeout: connectTimeout },
    headersTimeout: idleTimeout,
    bodyTimeout: idleTimeout,
    allowH2: false,
  });
}

export function createTransport(options: TransportOptions): Transport {
  const { signal, connectTimeout, idleTimeout } = options;
  const { mostBytes = Number.POSITIVE_INFINITY } = options;
  const dispatcher = openDispatcher({ connectTimeout, idleTimeout });
  const authorization =
    options.login &&
    `Basic ${Buffer.from(`${options.login.username}:${options.login.token}`).toString('base64')}`;
  /** The URL of the repository; a redirect changes it. */
  let base = options.url;
  let bytes = 0;

  async function* counted(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
    for await (const chunk of body) {
      bytes += chunk.length;
      if (bytes > mostBytes) throw tooLarge(options.url, mostBytes);
      yield chunk;
    }
  }

  const send = (url: string, { method = 'GET', headers }: GitRequest, body: Buffer | null) => {
    const allowed = sameHost(new URL(options.url), new URL(url));
    return request(url, {
      method: method as Dispatcher.HttpMethod,
      headers: {
        ...headers,
        'user-agent': `git/berth-${version}`,
        ...(authorization && allowed ? { authorization } : {}),
      },
      body,
      dispatcher,
      signal,
    });
  };

  return {
    async request(wanted) {
      const sent = wanted.body ? await collect(wanted.body) : null;
      let url = wanted.url.startsWith(options.url)
        ? base + wanted.url.slice(options.url.length)
        : wanted.url;
      for (let redirects = 0; ; redirects++) {
        const { statusCode, statusText, headers, body } = await send(url, wanted, sent);
        if (statusCode < 300 || statusCode >= 400 || headers.location === undefined) {
          const answer = { url, statusCode, statusMessage: statusText, headers: flat(headers) };
          return { ...answer, body: counted(body) };
        }
        await body.dump();
        const next = new URL(String(headers.location), url);
        base = follow(new URL(url), next, wanted, redirects);
        url = next.href;
      }
    },
    dispatcher,
    get bytes() {
      return bytes;
    },
    close: () => dispatcher.destroy(),
  };
}

/** The new URL of the repository. @throws BerthError if the redirect must not be followed */
function follow(from: URL, to: URL, wanted: GitRequest, redirects: number): string {
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

/** The whole body. @throws Error if the body is larger than `most` bytes */
export async function collect(
  body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  most = Number.POSITIVE_INFINITY,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > most) throw new Error(`the answer is larger than ${most} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function flat(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, String(value ?? '')]),
  );
}
