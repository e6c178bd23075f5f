import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { GitDirectory } from '../../../../init/git/git-directory.ts';
import { createRemote, type RemoteOptions } from '../../../../init/git/remote.ts';
import { createTransport, type TransportOptions } from '../../../../init/git/transport.ts';
import { type Harbour, openHarbour, token } from '../../../init/fixture.ts';

type Limits = Partial<RemoteOptions & TransportOptions>;

function connect(t: Test, harbour: Harbour, limits: Limits = {}) {
  const { url, log } = harbour;
  const signal = new AbortController().signal;
  const login = { username: 'oauth2', token };
  const transport = createTransport({ url, login, signal, idleTimeout: 5_000, ...limits });
  const directory = new GitDirectory(join(harbour.directory, 'git'));
  t.teardown(() => Promise.all([transport.close(), directory.close()]));
  const common = { url, authenticated: true, transport, signal, log };
  const remote = createRemote({ ...common, retryDelays: [1, 1], ...limits });
  return { transport, remote, directory };
}

t.test(
  'a branch, a tag, an annotated tag, a commit and the default branch are found',
  async (t) => {
    const harbour = await openHarbour(t);
    const { repository } = harbour;
    const first = repository.head();
    repository.tag('v1');
    repository.tag('v2', true);
    repository.branch('feature/x');
    const second = repository.commit({ 'a.md': 'a' });
    const { remote } = connect(t, harbour);
    const commit = async (ref?: string) => (await remote.resolve(ref)).commit;
    t.equal(await commit(), second);
    t.equal(await commit('main'), second);
    t.equal(await commit('refs/heads/main'), second);
    t.equal(await commit('feature/x'), first);
    t.equal(await commit('v1'), first);
    t.equal(await commit('v2'), first, 'an annotated tag is peeled');
    t.equal(await commit(first), first);
    repository.setDefaultBranch('feature/x');
    t.equal(await commit(), first);
  },
);

t.test('every kind of ref can be put on a volume', async (t) => {
  const harbour = await openHarbour(t);
  const first = harbour.repository.head();
  harbour.repository.tag('v1', true);
  harbour.repository.commit({ 'CLAUDE.md': 'two' });
  t.match(await harbour.run({ BERTH_REF: 'v1' }), { commit: first, ref: 'v1' });
  t.equal(harbour.read('CLAUDE.md'), '# one\n');
  const head = harbour.repository.head();
  t.match(await harbour.run({ BERTH_REF: head }), { commit: head, volume: 'other_ref' });
  t.equal(harbour.read('CLAUDE.md'), 'two');
  const asked = harbour.server.requests.length;
  await harbour.run({ BERTH_REF: head });
  t.equal(harbour.server.requests.length, asked, 'a commit that is there needs no server');
});

t.test('without BERTH_REF the default branch is followed, whichever it is by now', async (t) => {
  const harbour = await openHarbour(t);
  const { execFileSync } = await import('node:child_process');
  t.match(await harbour.run(), { ref: 'main' });
  harbour.repository.branch('trunk');
  const commit = harbour.repository.commit({ 'CLAUDE.md': 'trunk\n' }, 'Trunk', 'trunk');
  harbour.repository.commit({ 'CLAUDE.md': 'main\n' });
  harbour.repository.setDefaultBranch('trunk');
  t.match(await harbour.run(), { ref: 'trunk', commit, volume: 'complete', conflicts: 0 });
  t.equal(harbour.read('CLAUDE.md'), 'trunk\n');
  execFileSync('git', ['branch', '-qD', 'main'], { cwd: harbour.repository.path });
  t.match(await harbour.run(), { commit, written: 0, remote: 'current' });
});

t.test('an unknown ref is answered with the nearest one', async (t) => {
  const harbour = await openHarbour(t);
  harbour.repository.branch('production');
  const { remote } = connect(t, harbour);
  await t.rejects(remote.resolve('prodution'), {
    code: 'remote_refused',
    message: /no branch or tag "prodution"; did you mean production\?/,
  });
  await t.rejects(remote.resolve('zzzzzzzzzz'), { message: /it has main, production/ });
  await t.rejects(remote.resolve(harbour.repository.head().slice(0, 8)), { message: /all its 40/ });
});

t.test('a short commit id is resolved by the given lookup', async (t) => {
  const harbour = await openHarbour(t);
  const commit = harbour.repository.head();
  const expand = async (short: string) => (commit.startsWith(short) ? commit : undefined);
  const { remote, directory } = connect(t, harbour, { expand });
  const target = await remote.resolve(commit.slice(0, 8));
  t.equal(target.commit, commit);
  await directory.open();
  t.equal(await remote.fetch(target, directory), commit);
  await t.rejects(remote.resolve('0123abc'), { message: /all its 40/ });
});

t.test('an empty repository is reported as empty', async (t) => {
  const harbour = await openHarbour(t);
  const { execFileSync } = await import('node:child_process');
  execFileSync('git', [
    'init',
    '-q',
    '--bare',
    join(harbour.directory, 'repositories/me/empty.git'),
  ]);
  const url = harbour.url.replace('claude', 'empty');
  const { remote } = connect(t, { ...harbour, url });
  await t.rejects(remote.resolve(undefined), {
    code: 'remote_refused',
    message: /the repository is empty; push a first commit/,
  });
});

t.test('an update sends the known commits and receives only the changes', async (t) => {
  const { randomBytes } = await import('node:crypto');
  const big = randomBytes(200_000);
  const harbour = await openHarbour(t, { 'big.bin': big, 'a.md': 'a' });
  const { remote, directory, transport } = connect(t, harbour);
  await directory.open();
  await remote.fetch(await remote.resolve('main'), directory);
  const cold = transport.bytes;
  t.ok(cold > 200_000);
  const next = harbour.repository.commit({ 'a.md': 'b' });
  t.equal(await remote.fetch(await remote.resolve('main'), directory), next);
  t.ok(transport.bytes - cold < 20_000, `${transport.bytes - cold} bytes`);
});

t.test('a rewritten history is followed', async (t) => {
  const harbour = await openHarbour(t, { 'a.md': 'a', 'b.md': 'b' });
  await harbour.run();
  const commit = harbour.repository.rewrite({ 'a.md': 'new' });
  t.match(await harbour.run(), { commit, written: 1, removed: 1 });
  t.strictSame(harbour.tree(), { 'a.md': 'new' });
});

t.test('each refusal has its own message and is not retried', async (t) => {
  const harbour = await openHarbour(t);
  const { remote } = connect(t, harbour);
  const refusals: [number, RegExp][] = [
    [401, /does not accept the token \(401\).*BERTH_GIT_TOKEN/],
    [403, /may not read the repository \(403\).*Contents: read/],
    [404, /the repository does not exist, or the token has no access/],
  ];
  for (const [status, message] of refusals) {
    const asked = harbour.server.requests.length;
    harbour.server.fault({ kind: 'status', status });
    await t.rejects(remote.resolve('main'), { code: 'remote_refused', message });
    t.equal(harbour.server.requests.length, asked + 1, `${status} is asked once`);
  }
  const { remote: anonymous } = connect(t, harbour, { authenticated: false });
  harbour.server.fault({ kind: 'status', status: 401 });
  await t.rejects(anonymous.resolve('main'), { message: /requires a login/ });
});

t.test('a server in trouble is tried again, a few times', async (t) => {
  const harbour = await openHarbour(t);
  const { remote } = connect(t, harbour);
  harbour.server.fault({ kind: 'status', status: 503, times: 2 });
  t.equal((await remote.resolve('main')).commit, harbour.repository.head());
  t.equal(harbour.events('remote_retry').length, 2);
  harbour.server.fault({ kind: 'status', status: 500 });
  await t.rejects(remote.resolve('main'), {
    code: 'remote_unavailable',
    message: /in trouble \(500\)/,
  });
});

t.test('a server that asks to be left alone for a while is', async (t) => {
  const harbour = await openHarbour(t);
  const { remote } = connect(t, harbour);
  harbour.server.fault({ kind: 'status', status: 429, retryAfter: 1, times: 1 });
  t.equal((await remote.resolve('main')).commit, harbour.repository.head());
  t.match(harbour.events('remote_retry'), [{ wait_ms: 1_000 }]);
});

t.test('a web page instead of git data is reported as a web page', async (t) => {
  const harbour = await openHarbour(t);
  const { remote } = connect(t, harbour);
  harbour.server.fault({ kind: 'html' });
  await t.rejects(remote.resolve('main'), {
    code: 'remote_refused',
    message: /its answer is not git \(a web page\?\)/,
  });
});

t.test('a server that accepts requests but does not answer is given up', async (t) => {
  const harbour = await openHarbour(t);
  const { remote } = connect(t, harbour, { idleTimeout: 100, retryDelays: [] });
  harbour.server.fault({ kind: 'hang' });
  await t.rejects(remote.resolve('main'), {
    code: 'remote_unavailable',
    message: /sent no answer/,
  });
});

t.test('a body that stalls or breaks off is not taken for whole', async (t) => {
  const harbour = await openHarbour(t);
  const { remote: patient, directory } = connect(t, harbour);
  const { remote } = connect(t, harbour, { idleTimeout: 150, retryDelays: [] });
  await directory.open();
  const target = await patient.resolve('main');
  harbour.server.fault({ kind: 'stall', afterBytes: 60 });
  await t.rejects(remote.fetch(target, directory), { code: 'remote_unavailable' });
  harbour.server.fault({ kind: 'drop', afterBytes: 60 });
  await t.rejects(remote.fetch(target, directory), { code: 'remote_unavailable' });
  harbour.server.fault(undefined);
  t.equal(await patient.fetch(target, directory), target.commit);
});

t.test('a connection that broke is tried again', async (t) => {
  const harbour = await openHarbour(t);
  const { remote, directory } = connect(t, harbour);
  await directory.open();
  const target = await remote.resolve('main');
  harbour.server.fault({ kind: 'drop', afterBytes: 60, times: 1 });
  t.equal(await remote.fetch(target, directory), target.commit);
});

t.test('the total deadline ends a running request', async (t) => {
  const harbour = await openHarbour(t);
  const { remote } = connect(t, harbour, { signal: AbortSignal.timeout(100) });
  harbour.server.fault({ kind: 'hang' });
  await t.rejects(remote.resolve('main'), { code: 'remote_unavailable', message: /too long/ });
});

t.test('a connection that the port does not accept fails after the connect timeout', async (t) => {
  const harbour = await openHarbour(t);
  const port = await deafPort(t);
  const url = `http://127.0.0.1:${port}/me/claude`;
  const limits = { connectTimeout: 300, idleTimeout: 60_000, retryDelays: [] };
  const { remote } = connect(t, { ...harbour, url }, limits);
  await t.rejects(remote.resolve('main'), {
    code: 'remote_unavailable',
    message: /it does not answer; check the egress policy and the proxy variables/,
    cause: { code: 'UND_ERR_CONNECT_TIMEOUT' },
  });
});

/** A port of a process that is stopped, and whose queue of connections is full. */
async function deafPort(t: Test): Promise<number> {
  const listen = `require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 },
    function () { console.log(this.address().port) })`;
  const child = spawn(process.execPath, ['-e', listen], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  const [line] = await once(child.stdout, 'data');
  const port = Number(String(line));
  child.kill('SIGSTOP');
  // The kernel takes two connections; the others wait until the process accepts one.
  const sockets = Array.from({ length: 8 }, () => createConnection(port, '127.0.0.1'));
  for (const socket of sockets) t.teardown(() => socket.destroy());
  await Promise.all(sockets.slice(0, 2).map((socket) => once(socket, 'connect')));
  return port;
}

t.test('a port without a listener is reported in the error', async (t) => {
  const harbour = await openHarbour(t);
  const url = 'http://127.0.0.1:1/me/claude';
  const { remote } = connect(t, { ...harbour, url }, { retryDelays: [] });
  await t.rejects(remote.resolve('main'), {
    code: 'remote_unavailable',
    message: /127\.0\.0\.1:1\/me\/claude: nothing listens there/,
  });
});

t.test('a redirect to another host never gets the token', async (t) => {
  const harbour = await openHarbour(t);
  const seen: (string | undefined)[] = [];
  const thief = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.end();
  }).listen(0, '127.0.0.1');
  await once(thief, 'listening');
  t.teardown(() => thief.close());
  const { port } = thief.address() as { port: number };
  harbour.server.fault({ kind: 'redirect', to: `http://127.0.0.1:${port}/me/claude` });
  const { remote } = connect(t, harbour);
  await t.rejects(remote.resolve('main'), {
    code: 'remote_refused',
    message: /redirects to http:\/\/127\.0\.0\.1:\d+, where the token must not go/,
  });
  t.strictSame(seen, []);
});

t.test('a redirect within the host is followed, also for the later requests', async (t) => {
  const harbour = await openHarbour(t);
  const url = harbour.url.replace('me/claude', 'me/former');
  const { remote, directory } = connect(t, { ...harbour, url });
  harbour.server.fault({ kind: 'redirect', to: harbour.url, times: 1 });
  await directory.open();
  const target = await remote.resolve('main');
  t.equal(await remote.fetch(target, directory), harbour.repository.head());
});
