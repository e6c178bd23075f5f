/**
 * What one client, or many, may cost the API server before anybody knows who they are: bytes, time
 * and connections. Requests on one connection are not counted: those that carry a prompt are bounded
 * by the queue.
 */
import type { Server } from 'node:http';

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
}

export const httpLimits: HttpLimits = {
  head: 16 * 1024,
  headTimeout: 10_000,
  requestTimeout: 60_000,
  keepAlive: 72_000,
  lookEvery: 5_000,
  connections: 1_024,
};

/** For fastify's `http` option: what only the constructor of a server takes. */
export function serverOptions({ head, headTimeout, requestTimeout, lookEvery }: HttpLimits) {
  return {
    maxHeaderSize: head,
    headersTimeout: headTimeout,
    requestTimeout,
    connectionsCheckingInterval: lookEvery,
  };
}

export function boundConnections(server: Server, limits: HttpLimits): void {
  server.maxConnections = limits.connections;
}
