/**
 * The metrics port: probes and metrics, without a token, for the kubelet and Prometheus only; and problems of
 * the CLI for `berth doctor` in the same pod.
 */
import type { Socket } from 'node:net';
import { type FastifyInstance, fastify } from 'fastify';
import type { Registry } from 'prom-client';
import { boundConnections } from './limits.ts';

export interface ProbesOptions {
  /** False only while starting and draining: a lost login is an error answer, not an unready pod. */
  ready: () => boolean;
  registry: Registry;
  /** The problems of the CLI. Their texts name hosts and paths, so only a client of the same pod gets them. */
  problems?: () => unknown;
}

/** Connections without a token: all connections of this port. The oldest is closed first. */
const most = 32;

export function createProbesServer({ ready, registry, problems }: ProbesOptions): FastifyInstance {
  const server = fastify({ forceCloseConnections: true });
  boundConnections(server.server, {
    ...{ connections: 2 * most, untrusted: most, crowd: most, grace: 0 },
  });
  server.get('/livez', () => 'ok\n');
  server.get('/readyz', (_request, reply) =>
    ready() ? 'ok\n' : reply.code(503).send('starting or draining\n'),
  );
  server.get('/metrics', async (_request, reply) =>
    reply.type(registry.contentType).send(await registry.metrics()),
  );
  server.get('/problems', (request, reply) =>
    problems && isOfThisPod(request.socket) ? problems() : reply.callNotFound(),
  );
  return server;
}

function isOfThisPod({ remoteAddress, localAddress }: Socket): boolean {
  return remoteAddress !== undefined && remoteAddress === localAddress;
}
