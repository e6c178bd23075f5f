import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { receivedCommitsFile } from '../../../init/volume/record.ts';
import type { Peer } from '../../../shared/lease.ts';
import { startGitHubApi } from '../../support/github-api.ts';
import { until } from '../../support/until.ts';
import { openHarbour, token } from '../fixture.ts';
import { joinAs, type Message, startSync } from './fixture.ts';

/** Changes a branch of the repository at `path` as `git update-ref` does. */
function moveBranch(path: string, [first = '', second = '']: string[]): void {
  const change = first === '-d' ? ['-d', `refs/heads/${second}`] : [`refs/heads/${first}`, second];
  execFileSync('git', ['-C', path, 'update-ref', ...change]);
}

const files = {
  'CLAUDE.md': 'one\n',
  'skills/a/SKILL.md': 'one\n',
  'settings.json': '{}\n',
};

t.test(
  'a push reaches the volume while the supervisor is quiet, between two messages',
  async (t) => {
    const harbour = await openHarbour(t, files);
    const { sync } = await startSync(t, harbour);
    const { lease, heard } = await joinAs(harbour);
    t.teardown(() => lease.release());
    writeFileSync(join(harbour.volume, 'notes.txt'), 'mine');
    const commit = harbour.repository.commit({ 'CLAUDE.md': 'two\n', 'skills/a/SKILL.md': null });
    sync.wake();
    await until('the end is announced', () =>
      heard.some((one) => one.kind === 'end' && one.commit === commit),
    );
    t.same(
      heard.filter((one) => one.commit === commit).map(({ kind }) => kind),
      ['begin', 'end'],
    );
    t.match(harbour.tree(), { 'CLAUDE.md': 'two\n', 'notes.txt': 'mine' });
    t.notOk(existsSync(join(harbour.volume, 'skills')));
    t.notOk(existsSync(join(harbour.volume, '.berth/pending.json')));
  },
);

t.test('an unchanged repository costs one request for the refs', async (t) => {
  const harbour = await openHarbour(t, files);
  const { sync, registry } = await startSync(t, harbour);
  const before = harbour.server.requests.length;
  sync.wake();
  const counted = async () => (await registry.metrics()).includes('result="unchanged"} 1');
  await until('it is counted', counted);
  t.equal(harbour.server.requests.length, before + 1);
});

t.test('a commit that starts no worker is taken back, and the next commit is tried', async (t) => {
  const harbour = await openHarbour(t, files);
  const { sync, registry } = await startSync(t, harbour);
  const first = harbour.repository.head();
  const { lease, peer, heard } = await joinAs(harbour);
  t.teardown(() => lease.release());
  const hasEnded = (commit: string) => () =>
    heard.filter(({ kind }) => kind === 'end').at(-1)?.commit === commit;
  peer.send({ kind: 'verdict', commit: first, good: true });
  const bad = harbour.repository.commit({
    'CLAUDE.md': 'bad\n',
    'skills/a/SKILL.md': 'bad\n',
    'new.md': 'x',
  });
  sync.wake();
  await until('the bad commit is there', hasEnded(bad));
  // Without the git server: what is needed is on the volume.
  harbour.server.fault({ kind: 'status', status: 503 });
  peer.send({ kind: 'verdict', commit: bad, good: false, reason: 'a hook blocks' });
  await until('the good commit is back', hasEnded(first));
  t.same(harbour.tree(), files);
  await until('it is logged', () => harbour.events('commit_rolled_back').length > 0);
  t.match(harbour.events('commit_rolled_back'), [
    { commit: bad, last_good_commit: first, why: 'a hook blocks' },
  ]);
  await until('it is counted', async () =>
    (await registry.metrics()).includes(`commit="${bad}",last_good_commit="${first}"} 1`),
  );
  harbour.server.fault(undefined);
  const asked = harbour.server.requests.length;
  sync.wake();
  await until('it has asked', () => harbour.server.requests.length > asked);
  const next = harbour.repository.commit({
    'CLAUDE.md': 'better\n',
    'new.md': null,
    'skills/a/SKILL.md': 'two\n',
  });
  sync.wake();
  await until('the next commit is there', hasEnded(next));
  t.equal(harbour.read('CLAUDE.md'), 'better\n');
});

t.test('a commit whose record an operator deletes is tried again', async (t) => {
  const harbour = await openHarbour(t, files);
  const { sync, registry } = await startSync(t, harbour);
  const first = harbour.repository.head();
  const { lease, peer, heard } = await joinAs(harbour);
  t.teardown(() => lease.release());
  const ends = (commit: string) =>
    heard.filter((one) => one.kind === 'end' && one.commit === commit).length;
  peer.send({ kind: 'verdict', commit: first, good: true });
  const bad = harbour.repository.commit({ 'CLAUDE.md': 'bad\n' });
  sync.wake();
  await until('the bad commit is there', () => ends(bad) > 0);
  peer.send({ kind: 'verdict', commit: bad, good: false, reason: 'a hook blocks' });
  const rollbacks = () => harbour.events('commit_rolled_back').length;
  // Without a warm worker, the supervisor gives no verdict about the good commit again.
  await until('the good commit is back', () => rollbacks() > 0);
  const before = ends(bad);
  rmSync(join(harbour.volume, '.berth', receivedCommitsFile));
  sync.wake();
  await until('the commit is there again', () => ends(bad) > before);
  sync.wake();
  await until(
    'the next round has ended',
    async () => rollbacks() > 1 || (await registry.metrics()).includes('result="unchanged"} 1'),
  );
  t.equal(rollbacks(), 1, 'no verdict was given yet');
  t.equal(harbour.read('CLAUDE.md'), 'bad\n');
});

t.test('a rollback that fails is tried again', async (t) => {
  const harbour = await openHarbour(t, files);
  const { sync } = await startSync(t, harbour);
  const first = harbour.repository.head();
  const { lease, peer, heard } = await joinAs(harbour);
  t.teardown(() => lease.release());
  peer.send({ kind: 'verdict', commit: first, good: true });
  const bad = harbour.repository.commit({ 'CLAUDE.md': 'bad\n' });
  sync.wake();
  const isThere = (commit: string) => () =>
    heard.filter(({ kind }) => kind === 'end').at(-1)?.commit === commit;
  await until('the bad commit is there', isThere(bad));
  // The replaced file is lost, and so is its object.
  const state = join(harbour.volume, '.berth');
  const kept = readdirSync(join(state, 'previous')).filter((name) => name !== 'record.json');
  for (const name of kept) renameSync(join(state, 'previous', name), join(state, `kept-${name}`));
  renameSync(join(state, 'git'), join(state, 'kept-git'));
  peer.send({ kind: 'verdict', commit: bad, good: false, reason: 'a hook blocks' });
  await until('it has failed', () => harbour.events('commit_bad').length > 0);
  t.equal(harbour.read('CLAUDE.md'), 'bad\n');
  t.same(harbour.events('commit_rolled_back'), [], 'nothing claims that the volume went back');
  for (const name of kept) renameSync(join(state, `kept-${name}`), join(state, 'previous', name));
  sync.wake();
  await until('the good commit is back', isThere(first));
  t.equal(harbour.read('CLAUDE.md'), 'one\n');
});

t.test('a judgement of the commit before does not undo its correction', async (t) => {
  const harbour = await openHarbour(t, files);
  const { sync, registry } = await startSync(t, harbour);
  const { lease, peer, heard } = await joinAs(harbour);
  t.teardown(() => lease.release());
  const bad = harbour.repository.commit({ 'CLAUDE.md': 'bad\n' });
  const end = (commit: string) => () =>
    heard.some((one) => one.kind === 'end' && one.commit === commit);
  sync.wake();
  await until('the bad commit is there', end(bad));
  const better = harbour.repository.commit({ 'CLAUDE.md': 'better\n' });
  peer.onMessage((message) => {
    const said = message as Message;
    heard.push(said);
    if (said.kind !== 'begin') return;
    peer.send({ kind: 'verdict', commit: bad, good: false, reason: 'a hook blocks' });
    peer.send({ kind: 'quiet', commit: said.commit });
  });
  sync.wake();
  await until('the correction is there', end(better));
  sync.wake();
  await until('it has asked again', async () =>
    (await registry.metrics()).includes('result="unchanged"} 1'),
  );
  t.equal(harbour.read('CLAUDE.md'), 'better\n');
  t.same(harbour.events('commit_rolled_back'), []);
});

t.test('a restarted init receives the verdicts that the supervisor gave meanwhile', async (t) => {
  const harbour = await openHarbour(t, files);
  const earlier = await startSync(t, harbour);
  let verdict: object | undefined;
  const peers: Peer[] = [];
  const { lease } = await joinAs(harbour, (peer) => {
    peers.push(peer);
    // At once, before the new init knows its commit.
    if (verdict) peer.send(verdict);
  });
  t.teardown(() => lease.release());
  const good = harbour.repository.commit({ 'CLAUDE.md': 'two\n' });
  earlier.sync.wake();
  await until('the second commit is there', () => harbour.read('CLAUDE.md') === 'two\n');
  await earlier.end();
  verdict = { kind: 'verdict', commit: good, good: true };
  const { sync } = await startSync(t, harbour);
  const bad = harbour.repository.commit({ 'CLAUDE.md': 'bad\n' });
  sync.wake();
  await until('the bad commit is there', () => harbour.read('CLAUDE.md') === 'bad\n');
  peers.at(-1)?.send({ kind: 'verdict', commit: bad, good: false, reason: 'x' });
  await until('the volume went back', () => harbour.read('CLAUDE.md') !== 'bad\n');
  t.equal(harbour.read('CLAUDE.md'), 'two\n', 'the last good commit, and not the first');
});

t.test('a failing git server changes no file, and sync fetches again later', async (t) => {
  const harbour = await openHarbour(t, files);
  const { sync } = await startSync(t, harbour, { BERTH_SYNC_INTERVAL: '1s' });
  harbour.repository.commit({ 'CLAUDE.md': 'two\n' });
  harbour.server.fault({ kind: 'status', status: 503 });
  sync.wake();
  await until('it has failed', () => harbour.events('sync_failed').length > 0);
  t.equal(harbour.read('CLAUDE.md'), 'one\n');
  harbour.server.fault(undefined);
  sync.wake();
  await until('the commit is there', () => harbour.read('CLAUDE.md') === 'two\n');
});

t.test('a start without the git server is confirmed when the server has that commit', async (t) => {
  const harbour = await openHarbour(t, files);
  await harbour.run();
  harbour.server.fault({ kind: 'status', status: 503 });
  const { sync } = await startSync(t, harbour);
  const report = () => JSON.parse(readFileSync(join(harbour.volume, '.berth/report.json'), 'utf8'));
  const { confirmed_at, ...before } = report();
  t.match(before, { remote: 'failed', remote_error: { code: 'remote_unavailable' } });
  const { lease, heard } = await joinAs(harbour);
  t.teardown(() => lease.release());
  await until('the start is announced', () => heard.length > 0);
  heard.length = 0;
  harbour.server.fault(undefined);
  sync.wake();
  await until('the supervisor learns of it', () => heard.length > 0);
  t.same(heard, [{ kind: 'end', commit: harbour.repository.head() }]);
  const { remote_error, ...after } = report();
  t.match(after, { ...before, remote: 'current', remote_error: undefined, age_ms: 0 });
  t.equal(remote_error, undefined);
  t.ok(after.confirmed_at > confirmed_at);
});

t.test(
  'the expiry of a token that is put into the Secret later is found without a restart',
  async (t) => {
    const harbour = await openHarbour(t, files);
    const tokenExpires = '2026-12-31 23:59:59 UTC';
    const api = await startGitHubApi({ repository: 'me/claude', token, tokenExpires });
    t.teardown(() => api.close());
    const { sync, registry } = await startSync(t, harbour, { BERTH_GITHUB_API_URL: api.url });
    const { lease, heard } = await joinAs(harbour);
    t.teardown(() => lease.release());
    await until('the start is announced', () => heard.length > 0);
    heard.length = 0;
    // As after another token: the record of the start is about the token of the start.
    const path = join(harbour.volume, '.berth/github.json');
    rmSync(path, { force: true });
    sync.wake();
    await until('the supervisor learns of it', () => heard.length > 0);
    t.same(heard, [{ kind: 'end', commit: harbour.repository.head() }]);
    t.match(JSON.parse(readFileSync(path, 'utf8')), {
      token_expires_at: '2026-12-31T23:59:59.000Z',
    });
    const asked = api.requests.length;
    sync.wake();
    await until('it has checked again', async () =>
      (await registry.metrics()).includes('result="unchanged"} 2'),
    );
    t.equal(api.requests.length, asked, 'GitHub is queried once a day');
  },
);

t.test('the time since which syncs fail is exported until one succeeds', async (t) => {
  const harbour = await openHarbour(t, files);
  const first = await startSync(t, harbour);
  const name = 'berth_sync_failing_timestamp_seconds';
  t.match(await first.registry.metrics(), `${name} 0\n`);
  await first.end();
  harbour.server.fault({ kind: 'status', status: 503 });
  const { sync, registry } = await startSync(t, harbour);
  const since = async () =>
    Number(/^berth_sync_failing\w+ (\S+)$/m.exec(await registry.metrics())?.[1]);
  const started = await since();
  t.ok(Math.abs(Date.now() / 1_000 - started) < 60, 'the start is without the server already');
  sync.wake();
  await until('a sync has failed', () => harbour.events('sync_failed').length > 0);
  t.equal(await since(), started);
  harbour.server.fault(undefined);
  sync.wake();
  await until('a sync has succeeded', async () => (await since()) === 0);
});

t.test('a rewritten history is followed', async (t) => {
  const harbour = await openHarbour(t, files);
  harbour.repository.commit({ 'CLAUDE.md': 'two\n' });
  const { sync } = await startSync(t, harbour);
  harbour.repository.rewrite({ ...files, 'CLAUDE.md': 'rewritten\n' });
  sync.wake();
  await until('the commit is there', () => harbour.read('CLAUDE.md') === 'rewritten\n');
});

t.test('an edit on the volume stays, and is merged with a push', async (t) => {
  const text = 'one\n\ntwo\n\nthree\n';
  const harbour = await openHarbour(t, { ...files, 'CLAUDE.md': text });
  const { sync } = await startSync(t, harbour);
  writeFileSync(join(harbour.volume, 'CLAUDE.md'), text.replace('three', 'my three'));
  harbour.repository.commit({ 'CLAUDE.md': text.replace('one', 'their one') });
  sync.wake();
  await until(
    'both are there',
    () => harbour.read('CLAUDE.md') === 'their one\n\ntwo\n\nmy three\n',
  );
});

t.test(
  'a sync that joins a running supervisor does not touch its login or its files',
  async (t) => {
    const harbour = await openHarbour(t, files);
    const first = await startSync(t, harbour);
    const { lease, heard } = await joinAs(harbour);
    t.teardown(() => lease.release());
    await first.end();
    const login = join(harbour.volume, '.credentials.json');
    writeFileSync(login, 'written by the CLI');
    const temporary = join(harbour.volume, '.berth/.berth-0123456789ab.tmp');
    writeFileSync(temporary, 'of the supervisor');
    await startSync(t, harbour);
    t.equal(readFileSync(login, 'utf8'), 'written by the CLI');
    t.ok(existsSync(temporary));
    t.ok(heard.length > 0);
  },
);

t.test('a branch that moves backwards is followed', async (t) => {
  const harbour = await openHarbour(t, files);
  const first = harbour.repository.head();
  harbour.repository.commit({ 'CLAUDE.md': 'two\n', 'new.md': 'x' });
  const { sync } = await startSync(t, harbour);
  t.equal(harbour.read('CLAUDE.md'), 'two\n');
  moveBranch(harbour.repository.path, ['main', first]);
  sync.wake();
  await until('the first commit is back', () => harbour.read('CLAUDE.md') === 'one\n');
  await until('the new file is gone', () => harbour.read('new.md') === undefined);
  t.same(harbour.tree(), files);
  t.same(harbour.conflicts(), []);
});

t.test('a branch that vanishes changes nothing, and is followed when it is back', async (t) => {
  const harbour = await openHarbour(t, files);
  const { repository } = harbour;
  repository.branch('work');
  const { sync } = await startSync(t, harbour, { BERTH_REF: 'work', BERTH_SYNC_INTERVAL: '1s' });
  const commit = repository.commit({ 'CLAUDE.md': 'two\n' }, 'Change', 'work');
  moveBranch(repository.path, ['-d', 'work']);
  sync.wake();
  const failed = await until('it has failed', () => harbour.events('sync_failed')[0]);
  t.match(JSON.stringify(failed.error), /work/);
  t.same(harbour.tree(), files);
  moveBranch(repository.path, ['work', commit]);
  sync.wake();
  await until('the commit is there', () => harbour.read('CLAUDE.md') === 'two\n');
});
