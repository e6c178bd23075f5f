/**
 * The gateway: git over plain HTTP on the loopback interface, for tools of the runtime container, which
 * have no token. It adds the token on the way to the git server, and bounds which repositories may be
 * fetched and which branches may be pushed.
 * Invariants: only programs of the same pod reach it, and no web page: the Host header must be
 * loopback, and a request that a browser sends for a page is refused. A path that is not plain is
 * refused. Connections, requests at a time, bytes and time are bounded.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import { boundedLog } from '../../shared/bounded-log.ts';
import { asBerthError, BerthError, messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { createSlots } from '../../shared/slots.ts';
import { formatDuration } from '../../shared/units.ts';
import { openDispatcher } from '../git/transport.ts';
import type { GatewayConfig } from './gateway-settings.ts';
import { refuseText } from './git-answers.ts';
import { serveGit } from './git-requests.ts';
import { createLogins, type LoginSource } from './logins.ts';
import { createGatewayMetrics } from './metrics.ts';
import { servePulls } from './pull-requests.ts';
import type { Place } from './repository-pattern.ts';
import { type Refusal, routeOf } from './routes.ts';
import { ClientGone, isRefusal } from './transfer.ts';
import { createUpstream } from './upstream.ts';

export interface GatewayOptions {
  config: GatewayConfig;
  /** The repository of BERTH_REPO, whose server has the token. */
  home: Place;
  /** Branches of that repository that berth itself reads or writes. */
  reserved: readonly string[];
  /** The login as the settings are now. @throws BerthError */
  login: () => LoginSource;
  /** Undefined if the server of BERTH_REPO is not GitHub. */
  githubApiUrl: string | undefined;
  /** Completes "put a token into ...". */
  tokenPlace: string;
  registry: Registry;
  log: Log;
}

export interface Gateway {
  /** `http://127.0.0.1:9418` */
  url: string;
  /** Breaks all connections. Can be called twice. */
  stop(): Promise<void>;
}

const mostConnections = 256;
/** Milliseconds without a byte, on a connection or from a server: servers send a sign of life more often. */
const idle = 120_000;
/** Requests that wait for others, and for how many milliseconds. */
const mostWaiting = 64;
const patience = 60_000;
/** Warnings of one reason in a minute: tools can cause any number. */
const mostLines = 20;

/** @throws BerthError `config_invalid` if the address cannot be used */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { config, home, reserved } = options;
  const log = boundedLog(options.log, { most: mostLines });
  const { githubApiUrl, tokenPlace, registry } = options;
  const dispatcher = openDispatcher({ idleTimeout: idle });
  const end = new AbortController();
  const logins = createLogins({
    ...{ home: home.origin, read: options.login, githubApiUrl, tokenPlace, dispatcher },
    signal: end.signal,
  });
  const upstream = createUpstream({ logins, dispatcher });
  const slots = createSlots(config.transfers, mostWaiting, patience, () => busy(config.transfers));
  const metrics = createGatewayMetrics(registry, () => slots.taken);
  const common = { config, home, reserved, logins, upstream, dispatcher, githubApiUrl, metrics };

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const refusal = notFromHere(request);
    if (refusal !== undefined) {
      log.warn('gateway_refused', `a request was refused: ${refusal}`);
      return refuseText(response, 403, refusal);
    }
    const route = routeOf(request.method ?? '', request.url ?? '', home.origin, config.fetch);
    if ('status' in route) return refuseRoute(response, route);
    const over = new AbortController();
    const { signal } = over;
    // Ends a request that waits for bytes of its client.
    signal.addEventListener('abort', () => request.destroy(), { once: true });
    const stop = () => over.abort(end.signal.reason);
    end.signal.addEventListener('abort', stop, { once: true });
    if (end.signal.aborted) stop();
    const late = new DOMException('the deadline of the request has passed', 'TimeoutError');
    const timer = setTimeout(() => over.abort(late), config.timeout);
    response.once('close', () => {
      if (!response.writableFinished) over.abort(new ClientGone());
    });
    const each = { ...common, request, response, log: log.child(clientOf(request)), signal };
    let release: (() => void) | undefined;
    try {
      release = await slots.take(signal);
      await (route.kind === 'git' ? serveGit(route, each) : servePulls(route, each));
    } catch (error) {
      if (signal.reason instanceof ClientGone) {
        each.log.debug('gateway_failed', signal.reason.message);
      } else if (isRefusal(error)) each.log.warn('gateway_refused', messageOf(error));
      else {
        const text = signal.reason === late ? tooLate(config) : messageOf(error);
        each.log.warn('gateway_failed', text, { error });
      }
      if (response.headersSent) response.destroy();
      else refuseText(response, asBerthError(error).status, messageOf(error));
    } finally {
      // Without these two the request would stay in memory until the deadline.
      clearTimeout(timer);
      end.signal.removeEventListener('abort', stop);
      release?.();
    }
  };

  const server = createServer({ maxHeaderSize: 16 * 1024 }, (request, response) => {
    serve(request, response).catch((error: unknown) => {
      log.error('gateway_failed', 'a request of the gateway failed', { error });
      response.destroy();
    });
  });
  server.maxConnections = mostConnections;
  server.headersTimeout = 10_000;
  server.requestTimeout = config.timeout;
  server.keepAliveTimeout = 15_000;
  server.setTimeout(idle, (socket) => socket.destroy());
  const { host, port } = config.listen;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  }).catch(async (error: unknown) => {
    await dispatcher.destroy();
    throw new BerthError(
      'config_invalid',
      `cannot listen on ${host}:${port}: ${messageOf(error)}; choose another address with BERTH_GATEWAY_LISTEN`,
      { cause: error },
    );
  });
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${(server.address() as AddressInfo).port}`;
  log.info('gateway_started', `the gateway serves git at ${url}`, { url });

  let stopped: Promise<void> | undefined;
  return {
    url,
    stop() {
      stopped ??= new Promise<void>((resolve) => {
        server.close(() => resolve());
        end.abort(new Error('the gateway stops'));
        server.closeAllConnections();
      }).then(() => dispatcher.destroy());
      return stopped;
    },
  };
}

const loopback = /^(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d{1,5})?$/;

/** The reason why a request does not come from a program of this pod. */
function notFromHere({ headers }: IncomingMessage): string | undefined {
  if (!loopback.test(headers.host ?? '')) {
    return 'the Host header is not the address of this pod; use http://127.0.0.1:9418';
  }
  if (headers.origin !== undefined || headers['sec-fetch-site'] !== undefined) {
    return 'the request comes from a web page; use git or curl';
  }
  return undefined;
}

function refuseRoute(response: ServerResponse, { status, text, isLfs }: Refusal): void {
  if (!isLfs) {
    refuseText(response, status, text);
    return;
  }
  const headers = { 'content-type': 'application/vnd.git-lfs+json', connection: 'close' };
  response.writeHead(status, headers).end(JSON.stringify({ message: text }));
}

/** What the client says about itself; nothing of it is proved. */
function clientOf({ headers }: IncomingMessage): Record<string, string> {
  const plain = (value: unknown) =>
    typeof value === 'string' && /^[!-~ ]{1,100}$/.test(value) ? value : undefined;
  const agent = plain(headers['user-agent']);
  const session = plain(headers['berth-session']);
  return { ...(agent ? { agent } : {}), ...(session ? { session_id: session } : {}) };
}

function tooLate({ timeout }: GatewayConfig): string {
  return `cannot complete the request within ${formatDuration(timeout)}; raise BERTH_GATEWAY_TIMEOUT if the git server is slow`;
}

function busy(most: number): BerthError {
  return new BerthError(
    'overloaded',
    `cannot serve the request: ${most} others run already (BERTH_GATEWAY_TRANSFERS); try again later`,
  );
}
