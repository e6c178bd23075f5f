/**
 * The HTTP server of the init that stays: `/livez`, `/readyz`, `/metrics`, and further routes of the
 * same port. It uses `node:http` alone, because the program should stay small in memory.
 * Invariants: the number of connections is bounded, and a probe always finds a connection. A request
 * has a deadline, and a body is read only by a route that bounds it.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import { boundedLog } from '../../shared/bounded-log.ts';
import { BerthError, messageOf, systemCode } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Listen } from '../../shared/setting-types.ts';
import { Crowd } from './crowd.ts';
import type { RunningService } from './service.ts';

/** A route besides the probes. */
export interface Route {
  method: string;
  path: string;
  handle(request: IncomingMessage, answer: ServerResponse): Promise<void>;
}

export interface ProbesOptions {
  /** BERTH_SYNC_LISTEN */
  listen: Listen;
  registry: Registry;
  ready: () => boolean;
  routes?: readonly Route[];
  log: Log;
}

export interface Probes extends RunningService {
  /** The port at which the server listens. */
  port: number;
}

/** One more breaks off the oldest of the address that has the most. */
const mostConnections = 64;
/** Warnings of one reason in a minute. */
const mostLines = 20;
/** Milliseconds within which a whole request must have arrived. */
const patience = 10_000;

/** @throws BerthError `config_invalid` if the address cannot be used */
export async function openProbes(options: ProbesOptions): Promise<Probes> {
  const { listen } = options;
  const log = boundedLog(options.log, { most: mostLines });
  const server = createServer((request, answer) => {
    handle(options, request, answer).catch((error: unknown) => {
      log.warn('sync_request_failed', 'a request of the sync port failed', { error });
      if (answer.headersSent) answer.destroy();
      else send(answer, 500, 'failed; see the log\n');
    });
  });
  const connections = new Crowd(mostConnections);
  server.on('connection', (socket) => {
    socket.once(
      'close',
      connections.enter(socket.remoteAddress, () => socket.destroy()),
    );
  });
  server.requestTimeout = patience;
  server.headersTimeout = patience;
  server.keepAliveTimeout = 5_000;
  await open(server, listen);
  const address = server.address();
  return {
    port: typeof address === 'object' && address ? address.port : listen.port,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function handle(
  { registry, ready, routes = [] }: ProbesOptions,
  request: IncomingMessage,
  answer: ServerResponse,
): Promise<void> {
  const { method = 'GET' } = request;
  const path = (request.url ?? '/').split('?', 1)[0];
  const route = routes.find((one) => one.path === path);
  if (route) {
    if (method === route.method) return route.handle(request, answer);
    answer.setHeader('allow', route.method);
    return send(answer, 405, `use ${route.method}\n`);
  }
  if (method !== 'GET' && method !== 'HEAD') return send(answer, 404, 'not found\n');
  if (path === '/livez') return send(answer, 200, 'ok\n');
  if (path === '/readyz') {
    return ready() ? send(answer, 200, 'ok\n') : send(answer, 503, 'preparing or stopping\n');
  }
  if (path === '/metrics') {
    return send(answer, 200, await registry.metrics(), registry.contentType);
  }
  return send(answer, 404, 'not found\n');
}

/** Sends a whole answer; a request body that was not read ends with its connection. */
export function send(
  answer: ServerResponse,
  status: number,
  text: string,
  type = 'text/plain; charset=utf-8',
): void {
  const headers: Record<string, string> = { 'content-type': type };
  if (!answer.req.complete) headers.connection = 'close';
  answer.writeHead(status, headers).end(answer.req.method === 'HEAD' ? '' : text);
}

async function open(server: Server, { host, port }: Listen): Promise<void> {
  const attempt = (at: string) =>
    new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, at, () => {
        server.off('error', reject);
        resolve();
      });
    });
  try {
    await attempt(host).catch((error: unknown) => {
      // Without IPv6, all addresses means all addresses of IPv4.
      if (systemCode(error) !== 'EAFNOSUPPORT' || host !== '::') throw error;
      return attempt('0.0.0.0');
    });
  } catch (error) {
    throw new BerthError(
      'config_invalid',
      `cannot listen on ${host}:${port}: ${messageOf(error)}; choose another address with BERTH_SYNC_LISTEN`,
      { cause: error },
    );
  }
}
