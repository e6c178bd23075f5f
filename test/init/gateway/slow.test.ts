/** Slow and lost peers of the gateway, on both of its sides. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { until } from '../../support/until.ts';
import { openScene, type Scene } from './fixture.ts';

const refs = '/me/app/info/refs?service=git-upload-pack';

/** Waits until no request holds a slot. */
async function isIdle({ registry }: Scene): Promise<void> {
  await until('every slot is free', async () =>
    (await registry.metrics()).includes('berth_gateway_running 0'),
  );
}

/** Whether the git server's answer came within BERTH_GATEWAY_TIMEOUT. */
const isAnswered = ({ send }: Scene): Promise<boolean> =>
  send(refs).then(
    ({ status }) => status === 200,
    () => false,
  );

async function openSocket(t: Test, { gateway }: Scene, text: string): Promise<Socket> {
  const { hostname, port } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  t.teardown(() => socket.destroy());
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(text);
  return socket;
}

t.test('a git server that is silent, or stops in the middle, ends at the deadline', async (t) => {
  const environment = { BERTH_GATEWAY_TIMEOUT: '1s', BERTH_GATEWAY_TRANSFERS: '1' };
  const scene = await openScene(t, { environment });
  scene.server.fault({ kind: 'hang', times: 1 });
  await t.rejects(scene.send(refs), 'the connection breaks');
  scene.server.fault({ kind: 'stall', afterBytes: 100 });
  const { code } = await scene.git(scene.directory, 'clone', '--quiet', scene.url('me/app'), 'x');
  t.not(code, 0);
  await isIdle(scene);
  scene.server.fault(undefined);
  await until('the one slot is free again', () => isAnswered(scene));
  const failed = scene.lines.filter(({ event }) => event === 'gateway_failed');
  t.ok(failed.length >= 2);
  for (const { msg } of failed) t.match(msg, /BERTH_GATEWAY_TIMEOUT/);
});

t.test('a client that is slow holds no slot and no connection', async (t) => {
  const environment = { BERTH_GATEWAY_TIMEOUT: '1s', BERTH_GATEWAY_TRANSFERS: '1' };
  const scene = await openScene(t, { environment });
  const head = `POST /me/app/git-receive-pack HTTP/1.1\r\nhost: 127.0.0.1\r\n`;
  const type = 'content-type: application/x-git-receive-pack-request\r\n';
  const slow = await openSocket(t, scene, `${head}${type}content-length: 1000\r\n\r\n0094`);
  await once(slow, 'close');
  await isIdle(scene);
  await until('the one slot is free again', () => isAnswered(scene));
});

t.test('a disconnected client holds no slot and no connection', async (t) => {
  const scene = await openScene(t, { environment: { BERTH_GATEWAY_TRANSFERS: '1' } });
  scene.server.fault({ kind: 'hang' });
  const before = scene.server.requests.length;
  const gone = await openSocket(t, scene, `GET ${refs} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`);
  await until('the server has the request', () => scene.server.requests.length > before);
  gone.destroy();
  await isIdle(scene);
  t.match(
    scene.lines.filter(({ level, msg }) => level === 'debug' && msg === 'the client has gone'),
    [{ event: 'gateway_failed' }],
  );
  scene.server.fault(undefined);
  t.equal((await scene.send(refs)).status, 200);
});

t.test('a stop breaks requests that wait for the git server', async (t) => {
  const scene = await openScene(t);
  scene.server.fault({ kind: 'hang' });
  const waiting = await openSocket(t, scene, `GET ${refs} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`);
  await until('the server has the request', () => scene.server.requests.length > 0);
  const closed = once(waiting, 'close');
  await Promise.all([scene.gateway.stop(), scene.gateway.stop()]);
  await closed;
});
