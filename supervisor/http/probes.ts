/** The metrics port: probes and metrics, without a token, for the kubelet and Prometheus only. */
import { type FastifyInstance, fastify } from 'fastify';
import type { Registry } from 'prom-client';
import { boundConnections } from './limits.ts';

export interface ProbesOptions {
  /** False only while starting and draining: a lost login is an error answer, not an unready pod. */
  ready: () => boolean;
  registry: Registry;
}

/** Connections without a token: all connections of this port. The oldest is closed first. */
const most = 32;

export function createProbesServer({ ready, registry }: ProbesOptions): FastifyInstance {
  const server = fastify({ forceCloseConnections: true });
  boundConnections(server.server, { connections: 2 * most, strangers: most });
  server.get('/livez', () => 'ok\n');
  server.get('/readyz', (_request, reply) =>
    ready() ? 'ok\n' : reply.code(503).send('starting or draining\n'),
  );
  server.get('/metrics', async (_request, reply) =>
    reply.type(registry.contentType).send(await registry.metrics()),
  );
  return server;
}
