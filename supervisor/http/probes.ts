/** The metrics port: probes and metrics, without a token, for the kubelet and Prometheus only. */
import { type FastifyInstance, fastify } from 'fastify';
import type { Registry } from 'prom-client';

export interface ProbesOptions {
  /** False while starting and draining only: a lost login is a typed answer, not an unready pod. */
  ready: () => boolean;
  registry: Registry;
}

export function createProbesServer({ ready, registry }: ProbesOptions): FastifyInstance {
  const server = fastify({ forceCloseConnections: true });
  server.get('/livez', () => 'ok\n');
  server.get('/readyz', (_request, reply) =>
    ready() ? 'ok\n' : reply.code(503).send('starting or draining\n'),
  );
  server.get('/metrics', async (_request, reply) =>
    reply.type(registry.contentType).send(await registry.metrics()),
  );
  return server;
}
