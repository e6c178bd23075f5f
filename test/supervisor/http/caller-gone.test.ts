import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { fastify } from 'fastify';
import t from 'tap';
import { callerGone } from '../../../supervisor/http/caller-gone.ts';

t.test('a client that leaves before or while its handler runs is noticed', async (t) => {
  const server = fastify({ forceCloseConnections: true });
  t.teardown(() => server.close());
  const signals = new Map<string, AbortSignal>();
  server.addHook('preValidation', async ({ url, raw }) => {
    if (url !== '/early') return;
    raw.socket.destroy();
    await once(raw.socket, 'close');
  });
  const handled = Promise.withResolvers<void>();
  server.get('/early', async (_request, reply) => {
    signals.set('early', callerGone(reply));
    handled.resolve();
    return 'never read';
  });
  server.get('/late', async ({ raw }, reply) => {
    const gone = callerGone(reply);
    signals.set('late', gone);
    t.notOk(gone.aborted);
    raw.socket.destroy();
    await once(gone, 'abort');
    return 'never read';
  });
  await server.listen({ host: '127.0.0.1', port: 0 });
  const { port } = server.server.address() as AddressInfo;
  for (const path of ['early', 'late']) {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(`GET /${path} HTTP/1.1\r\nhost: berth\r\n\r\n`);
    await once(socket, 'close');
  }
  await handled.promise;
  for (const path of ['early', 'late']) {
    t.match(signals.get(path)?.reason, { code: 'interrupted', message: /closed the connection/ });
  }
});
