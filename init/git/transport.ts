/**
 * HTTP for isomorphic-git over undici: connect, idle and total deadlines, the proxy variables, and
 * redirects of the discovery request within one host.
 * Always holds: the login goes to the origin of the repository's URL (or the same host over https)
 * and nowhere else, and the library never sees it; so neither a redirect nor a setting planted in
 * the git directory can send it away.
 */
import type { GitHttpRequest, GitHttpResponse, HttpClient } from 'isomorphic-git';
import { type Dispatcher, EnvHttpProxyAgent, request } from 'undici';
import { BerthError } from '../../shared/errors.ts';
import { formatSize } from '../../shared/units.ts';
import { version } from '../../shared/version.ts';
import { Body, collect } from './body.ts';
import { askForThinPack, withoutPack } from './side-band.ts';

export interface Patience {
  /** Milliseconds until a connection must stand. */
  connectTimeout?: number | undefined;
  /** Milliseconds without a byte after which a connection is dead. */
  idleTimeout?: number | undefined;
}

export interface TransportOptions extends Patience {
  /** The repository's URL, without a login. */
  url: string;
  login?: { username: string; token: string };
  /** The total deadline, or the wish to stop. */
  signal: AbortSignal;
  /** More bytes than this are refused. */
  mostBytes?: number;
}

/** Where a pack goes instead of to the library. */
export interface PackSink {
  /** The next bytes come when it has returned. */
  take: (part: Buffer) => Promise<void>;
  /** Whether the pack may hold deltas against objects that are here already. */
  thin: boolean;
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
  /** The refs are asked once, and the library gets the same answer again until this is called. */
  forgetRefs(): void;
  /** Asks for the refs before they are wanted: the first to ask for them gets that answer, or failure. */
  askRefs(): void;
  /** Where the packs of the next answers go; undefined: to the library. */
  divert(sink: PackSink | undefined): void;
  /** Milliseconds that the server asked to be left alone for, in its last answer. */
  readonly retryAfter: number | undefined;
  close(): Promise<void>;
}

const mostRedirects = 5;
/** Some 200,000 refs. */
const mostRefsBytes = 16 * 1024 * 1024;

interface Advertisement {
  url: string;
  response: GitHttpResponse;
  chunks: Buffer[];
}

type Answer = { kind: 'refs'; refs: Advertisement } | { kind: 'other'; response: GitHttpResponse };

/** Connections that follow the proxy variables, each step within its time. */
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
  /** Where the repository lies; moves when a redirect says so. */
  let base = options.url;
  let bytes = 0;
  let bodies: Body[] = [];
  let retryAfter: number | undefined;
  let advertisement: Advertisement | undefined;
  let early: { url: string; answer: Promise<Answer> } | undefined;
  let sink: PackSink | undefined;

  const count = (length: number): void => {
    bytes += length;
    if (bytes > mostBytes) throw tooLarge(options.url, mostBytes);
  };

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

  const ask = async (wanted: GitHttpRequest): Promise<Answer> => {
    const forRefs = wanted.method !== 'POST';
    const to = forRefs ? undefined : sink;
    const given = wanted.body && (await collect(wanted.body));
    const thin = to?.thin && advertisement?.chunks.some((chunk) => chunk.includes(' thin-pack '));
    const requestBody = given && thin ? askForThinPack(given) : given;
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
      const received = new Body(answer.body, count);
      const body = to ? new Body(withoutPack(received, to.take)) : received;
      bodies.push(received, body);
      const seconds = Number(answer.headers['retry-after']);
      retryAfter = seconds > 0 ? seconds * 1_000 : undefined;
      const response = {
        url,
        statusCode: answer.statusCode,
        statusMessage: answer.statusText,
        headers: flat(answer.headers),
        body,
      };
      if (!forRefs || answer.statusCode !== 200) return { kind: 'other', response };
      const chunks = [await collect(body, mostRefsBytes)];
      return { kind: 'refs', refs: { url: wanted.url, response, chunks } };
    }
  };

  const takeEarly = (url: string): Promise<Answer> | undefined => {
    const taken = early?.url === url ? early.answer : undefined;
    if (taken) early = undefined;
    return taken;
  };

  const http: HttpClient = {
    async request(wanted): Promise<GitHttpResponse> {
      const forRefs = wanted.method !== 'POST';
      if (forRefs && advertisement?.url === wanted.url) return replay(advertisement);
      const answer = await ((forRefs && takeEarly(wanted.url)) || ask(wanted));
      if (answer.kind === 'other') return answer.response;
      advertisement = answer.refs;
      return replay(advertisement);
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
    forgetRefs() {
      advertisement = undefined;
    },
    askRefs() {
      const url = `${options.url}/info/refs?service=git-upload-pack`;
      const answer = ask({ url, method: 'GET', headers: {} });
      // For who takes it; perhaps nobody does.
      answer.catch(() => undefined);
      early = { url, answer };
    },
    divert(to) {
      sink = to;
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

function replay({ response, chunks }: Advertisement): GitHttpResponse {
  return { ...response, body: iterate(chunks) };
}

async function* iterate(chunks: readonly Buffer[]): AsyncIterableIterator<Uint8Array> {
  yield* chunks;
}

/** The repository is beyond BERTH_MAX_REPO_BYTES. */
export function tooLarge(url: string, mostBytes: number): BerthError {
  return new BerthError(
    'remote_refused',
    `cannot fetch ${url}: it is larger than ${formatSize(mostBytes)}; make it smaller, or raise BERTH_MAX_REPO_BYTES if the volume and the memory have room`,
  );
}

function flat(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, String(value ?? '')]),
  );
}
