/**
 * What one client, or many, may cost the API server before anybody knows who they are: bytes, time
 * and connections. Requests on one connection are not counted: those that carry a prompt are bounded
 * by the queue.
 */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';

export interface HttpLimits {
  /** Bytes of a request line and its headers together: longer URLs and headers are 431. */
  head: number;
  /** Milliseconds from the connection, or from the first byte of a later request, to the end of its head. */
  headTimeout: number;
  /** Milliseconds in which a request must have arrived whole, however slowly its body trickles. */
  requestTimeout: number;
  /** Milliseconds that a connection may be idle between requests; above the 60 s of usual proxies. */
  keepAlive: number;
  /** Milliseconds between two looks for connections that are over their time. */
  lookEvery: number;
  connections: number;
  /** Connections without a valid token yet; above this the oldest of them is closed. */
  strangers: number;
}

export const httpLimits: HttpLimits = {
  head: 16 * 1024,
  headTimeout: 10_000,
  requestTimeout: 60_000,
  keepAlive: 72_000,
  lookEvery: 5_000,
  connections: 1_024,
  strangers: 64,
};

/** Descriptors of the server itself, of its files and probes, and of one worker while it starts. */
const ownDescriptors = 128;
const workerDescriptors = 8;
const fewestConnections = 16;

/** The bounds where the process may have so many files open: workers come before connections. */
export function limitsWithin(descriptors: number, workers: number): HttpLimits {
  const left = descriptors - ownDescriptors - workerDescriptors * workers;
  const connections = Math.min(httpLimits.connections, Math.max(fewestConnections, left));
  return {
    ...httpLimits,
    connections,
    strangers: Math.min(httpLimits.strangers, Math.floor(connections / 2)),
  };
}

/** For fastify's `http` option: what only the constructor of a server takes. */
export function serverOptions({ head, headTimeout, requestTimeout, lookEvery }: HttpLimits) {
  return {
    maxHeaderSize: head,
    headersTimeout: headTimeout,
    requestTimeout,
    connectionsCheckingInterval: lookEvery,
  };
}

/**
 * Bounds the connections of a server. When all are taken, those go that wait for nothing: a client that
 * keeps many is not to keep others out.
 */
export function boundConnections(server: Server, { connections, strangers }: BoundOptions) {
  server.maxConnections = connections;
  server.on('drop', () => server.closeIdleConnections());
  return new Strangers(server, strangers);
}

type BoundOptions = Pick<HttpLimits, 'connections' | 'strangers'>;

/** The connections on which no valid token has come. */
export class Strangers {
  /** Oldest first. */
  readonly #sockets = new Set<Socket>();

  constructor(server: Server, most: number) {
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      if (this.#sockets.size <= most) return;
      const [oldest] = this.#sockets;
      if (oldest) this.#sockets.delete(oldest);
      oldest?.destroy();
    });
  }

  /** A valid token has come on this connection. */
  trust(socket: Socket): void {
    this.#sockets.delete(socket);
  }
}

/** JSON values that a body may have: the largest `output_schema`, and as many again for all else. */
export const mostValues = 12_000;

/** Whether a body has more values than `most`; found without a look at all of them. */
export function hasMoreValues(body: unknown, most = mostValues): boolean {
  const rest = [body];
  for (let seen = 0; rest.length > 0; seen++) {
    if (seen + rest.length > most) return true;
    const value = rest.pop();
    if (typeof value !== 'object' || value === null) continue;
    if (Array.isArray(value) && value.length > most) return true;
    for (const key in value) {
      if (rest.push((value as Record<string, unknown>)[key]) > most) return true;
    }
  }
  return false;
}
