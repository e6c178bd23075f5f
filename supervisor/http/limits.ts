/**
 * Limits for clients that have not presented a valid token: bytes, time and connections. The number of
 * requests on a connection has no limit here: the queue bounds requests with a prompt.
 */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';

export interface HttpLimits {
  /** Bytes of a request line and its headers together: longer URLs and headers are 431. */
  head: number;
  /** Milliseconds from the connection, or from the first byte of a later request, to the end of its head. */
  headTimeout: number;
  /** Milliseconds within which the whole request must arrive. */
  requestTimeout: number;
  /** Milliseconds that a connection may be idle between requests; above the 60 s of usual proxies. */
  keepAlive: number;
  /** Milliseconds between two checks for connections that exceed their time. */
  lookEvery: number;
  connections: number;
  /** Connections without a valid token that are older than `grace`; above this number the oldest is closed. */
  untrusted: number;
  /** Connections without a valid token, of any age; above this number the oldest is closed at once. */
  crowd: number;
  /** Milliseconds: many clients that connect at once need a moment to send their tokens. */
  grace: number;
}

export const httpLimits: HttpLimits = {
  head: 16 * 1024,
  headTimeout: 10_000,
  requestTimeout: 60_000,
  keepAlive: 72_000,
  lookEvery: 5_000,
  connections: 1_024,
  untrusted: 64,
  crowd: 512,
  grace: 10_000,
};

/** Descriptors of the server itself, of its files and probes, and of one worker while it starts. */
const ownDescriptors = 128;
const workerDescriptors = 8;
const fewestConnections = 16;

/** The limits for a process with so many file descriptors: workers have priority over connections. */
export function limitsWithin(descriptors: number, workers: number): HttpLimits {
  const left = descriptors - ownDescriptors - workerDescriptors * workers;
  const connections = Math.min(httpLimits.connections, Math.max(fewestConnections, left));
  return {
    ...httpLimits,
    connections,
    untrusted: Math.min(httpLimits.untrusted, Math.floor(connections / 2)),
    crowd: Math.min(httpLimits.crowd, Math.floor(connections / 2)),
  };
}

/** For fastify's `http` option: settings that only the constructor of a server accepts. */
export function serverOptions({ head, headTimeout, requestTimeout, lookEvery }: HttpLimits) {
  return {
    maxHeaderSize: head,
    headersTimeout: headTimeout,
    requestTimeout,
    connectionsCheckingInterval: lookEvery,
  };
}

/**
 * Bounds the connections of a server. If all are in use, idle connections are closed: a client with many
 * idle connections must not keep other clients out.
 */
export function boundConnections(server: Server, limits: BoundOptions) {
  server.maxConnections = limits.connections;
  server.on('drop', () => server.closeIdleConnections());
  return new UntrustedConnections(server, limits);
}

type BoundOptions = Pick<HttpLimits, 'connections' | 'untrusted' | 'crowd' | 'grace'>;

/**
 * The connections on which no valid token has been received.
 * Invariant: a connection that is younger than `grace` is closed only if there are more than `crowd`. So clients that
 * connect at the same moment all have the time to send their tokens.
 */
class UntrustedConnections {
  /** When each was accepted, in milliseconds of a monotonic clock; oldest first. */
  readonly #sockets = new Map<Socket, number>();
  readonly #limits: Omit<BoundOptions, 'connections'>;
  #timer: NodeJS.Timeout | undefined;

  constructor(server: Server, limits: Omit<BoundOptions, 'connections'>) {
    this.#limits = limits;
    server.on('connection', (socket: Socket) => {
      this.#sockets.set(socket, performance.now());
      socket.once('close', () => this.#sockets.delete(socket));
      if (this.#sockets.size > limits.crowd) this.#closeOldest();
      if (this.#sockets.size > limits.untrusted) this.#reviewLater(limits.grace);
    });
  }

  /** Records that a valid token was received on this connection. */
  trust(socket: Socket): void {
    this.#sockets.delete(socket);
  }

  #reviewLater(milliseconds: number): void {
    this.#timer ??= setTimeout(() => {
      // After a stall of this process, tokens that have arrived meanwhile are read first.
      setImmediate(() => this.#review());
    }, milliseconds).unref();
  }

  #review(): void {
    this.#timer = undefined;
    const { untrusted, grace } = this.#limits;
    const now = performance.now();
    while (this.#sockets.size > untrusted) {
      const [oldest = now] = this.#sockets.values();
      const left = oldest + grace - now;
      if (left > 0) {
        this.#reviewLater(Math.ceil(left));
        return;
      }
      this.#closeOldest();
    }
  }

  #closeOldest(): void {
    const [oldest] = this.#sockets.keys();
    if (!oldest) return;
    this.#sockets.delete(oldest);
    oldest.destroy();
  }
}
