/** Pushes that no git sends, over a socket of their own, to a real git server. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { packet } from '../../../init/gateway/pkt-line.ts';
import { zero } from '../../../init/gateway/push-commands.ts';
import { gitEnvironment, type Repository } from '../../support/repository.ts';
import { until } from '../../support/until.ts';
import { openScene, type Scene } from './fixture.ts';

const ref = 'refs/heads/berth/fix';
const otherRef = 'refs/heads/berth/other';

/** The pack with all that `to` has and `from` has not. */
function packOf({ path }: Repository, to: string, from?: string): Buffer {
  const input = `${to}\n${from === undefined ? '' : `^${from}\n`}`;
  const args = ['pack-objects', '--revs', '--stdout', '-q'];
  return execFileSync('git', args, { cwd: path, env: gitEnvironment(), input });
}

function headOf(old: string, to: string, name = ref): Buffer {
  return Buffer.concat([packet(`${old} ${to} ${name}\0 report-status`), Buffer.from('0000')]);
}

/** The answer to a push that passes. */
function answerOf(socket: Socket): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
    if (text.includes('ok refs')) resolve(text);
  });
  return promise;
}

/** A push whose body stays open: each part is a chunk of its own. */
async function startPush(t: Test, { gateway }: Scene, ...parts: Buffer[]): Promise<Socket> {
  const { hostname, port } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  t.teardown(() => socket.destroy());
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(
    'POST /me/app/git-receive-pack HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n' +
      'content-type: application/x-git-receive-pack-request\r\n\r\n',
  );
  for (const part of parts) {
    socket.write(`${part.length.toString(16)}\r\n`);
    socket.write(part);
    socket.write('\r\n');
  }
  return socket;
}

t.test('a forced push is refused, even if extra bytes follow the pack', async (t) => {
  const scene = await openScene(t);
  const { app, lines } = scene;
  app.branch('berth/fix');
  const old = app.head('berth/fix');
  const small = app.rewrite({ 'README.md': '# forced\n' }, 'Orphan', 'orphan');
  const large = app.rewrite({ 'noise.bin': randomBytes(50_000) }, 'Orphan', 'large');
  const junk = Buffer.alloc(20, 'x');
  const outcomes = () => lines.filter(({ event }) => /_(refused|pushed)$/.test(`${event}`));
  for (const [name, to, cut] of [
    ['a small pack and junk', small, (pack: Buffer) => [Buffer.concat([pack, junk])]],
    ['a small pack, then junk', small, (pack: Buffer) => [pack, junk]],
    ['a large pack and junk', large, (pack: Buffer) => [Buffer.concat([pack, junk])]],
    ['a large pack, then junk', large, (pack: Buffer) => [pack, junk]],
    ['a large pack, then much junk', large, (pack: Buffer) => [pack, Buffer.alloc(50_000)]],
  ] as const) {
    const before = outcomes().length;
    const socket = await startPush(t, scene, headOf(old, to), ...cut(packOf(app, to)));
    // A small pack may be a part of a larger one until the client ends its request.
    if (to === small) socket.write('0\r\n\r\n');
    await until(name, () => outcomes().length > before);
    t.equal(app.head('berth/fix'), old, name);
    t.match(outcomes().at(-1), { event: 'gateway_refused', msg: /would remove commits/ }, name);
    socket.destroy();
  }
});

t.test('a small forced push does not pass while the client keeps its request open', async (t) => {
  const scene = await openScene(t);
  const { app, server, registry } = scene;
  app.branch('berth/fix');
  const old = app.head('berth/fix');
  const to = app.rewrite({ 'README.md': '# forced\n' }, 'Orphan', 'orphan');
  const pack = Buffer.concat([packOf(app, to), Buffer.alloc(20, 'x')]);
  const socket = await startPush(t, scene, headOf(old, to), pack);
  socket.resume();
  const pushes = () => server.requests.filter(({ path }) => path.endsWith('git-receive-pack'));
  await until('the server has the push', () => pushes().length === 1);
  // A later push passes meanwhile: had the pack of the first one passed, the server would have it by now.
  const later = await startPush(t, scene, headOf(zero, old, otherRef), packOf(app, old, old));
  later.write('0\r\n\r\n');
  t.match(await answerOf(later), `ok ${otherRef}`);
  t.equal(pushes().length, 2);
  t.notOk(socket.closed || socket.readableEnded, 'the first push is still open');
  t.equal(app.head('berth/fix'), old);
  socket.destroy();
  await until('the gateway has dropped it', async () =>
    (await registry.metrics()).includes('berth_gateway_running 0'),
  );
  t.equal(app.head('berth/fix'), old);
});

t.test('a push that only adds passes, also in small chunks', async (t) => {
  const scene = await openScene(t);
  const { app } = scene;
  app.branch('berth/fix');
  const old = app.head('berth/fix');
  app.branch('next');
  app.commit({ 'noise.bin': randomBytes(50_000) }, 'First', 'next');
  const to = app.commit({ 'README.md': '# two\n' }, 'Second', 'next');
  const pack = packOf(app, to, old);
  const parts: Buffer[] = [];
  for (let at = 0; at < pack.length; at += 1_000) parts.push(pack.subarray(at, at + 1_000));
  const socket = await startPush(t, scene, headOf(old, to), ...parts);
  socket.write('0\r\n\r\n');
  t.match(await answerOf(socket), /200 OK[\s\S]*unpack ok[\s\S]*ok refs\/heads\/berth\/fix/);
  t.equal(app.head('berth/fix'), to);
});

t.test('a push with a pack but without commands is refused', async (t) => {
  const scene = await openScene(t);
  const socket = await startPush(
    t,
    scene,
    Buffer.from('0000'),
    packOf(scene.app, scene.app.head()),
  );
  socket.write('0\r\n\r\n');
  const isLogged = () => scene.lines.some(({ msg }) => /bytes follow no command/.test(`${msg}`));
  await until('the refusal is in the log', isLogged);
  t.notOk(scene.server.requests.some(({ method }) => method === 'POST'));
});

t.test('git sends a push without commands before a large one, and both pass', async (t) => {
  const scene = await openScene(t);
  const clone = await scene.clone('clone');
  writeFileSync(join(clone, 'noise.bin'), randomBytes(200_000));
  await scene.git(clone, 'add', '.');
  await scene.commit(clone, 'large');
  const push = ['-c', 'http.postBuffer=65536', 'push', 'origin', 'HEAD:berth/large'];
  const { code, text } = await scene.git(clone, ...push);
  t.equal(code, 0, text);
  const posts = scene.server.requests.filter(({ path }) => path.endsWith('/git-receive-pack'));
  t.equal(posts.length, 2);
});

t.test('the log names the refs of a push that broke off behind its proof', async (t) => {
  const scene = await openScene(t);
  const { app, server, lines } = scene;
  const socket = await startPush(t, scene, headOf(zero, app.head()), Buffer.from('PACK'));
  const isSent = () => server.requests.some(({ path }) => path.endsWith('git-receive-pack'));
  await until('the server has the push', isSent);
  socket.destroy();
  const line = () => lines.find(({ refs }) => `${refs}` === ref);
  await until('the refs are in the log', () => line() !== undefined);
  t.match(line(), { event: 'gateway_failed', msg: /may have changed the refs/ });
});
