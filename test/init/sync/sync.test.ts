import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import t, { type Test } from 'tap';
import { createSyncMetrics } from '../../../init/sync/metrics.ts';
import { Sync } from '../../../init/sync/sync.ts';
import { acquireLease, type Lease, type Peer } from '../../../shared/lease.ts';
import { until } from '../../support/until.ts';
import { type Harbour, openHarbour } from '../fixture.ts';

interface Message {
  kind: string;
  commit: string;
}

/** The supervisor's part: quiet at once; `heard` has what init has said. */
async function joinAs(harbour: Harbour): Promise<{ lease: Lease; peer: Peer; heard: Message[] }> {
  const heard: Message[] = [];
  const joined = Promise.withResolvers<Peer>();
  const lease = await acquireLease({
    directory: join(harbour.volume, '.berth'),
    program: 'serve',
    log: harbour.log,
    signal: AbortSignal.timeout(10_000),
    sharing: { role: 'serve', accepts: () => true, onPeer: (peer) => joined.resolve(peer) },
  });
  const peer = await joined.promise;
  peer.onMessage((message) => {
    const said = message as Message;
    heard.push(said);
    if (said.kind === 'begin') peer.send({ kind: 'quiet', commit: said.commit });
  });
  return { lease, peer, heard };
}

async function start(t: Test, harbour: Harbour, overrides: Record<string, string> = {}) {
  const stop = new AbortController();
  const registry = new Registry();
  const sync = new Sync({
    readConfig: () => harbour.config({ BERTH_SYNC_INTERVAL: '1h', ...overrides }),
    metrics: createSyncMetrics(registry),
    log: harbour.log,
  });
  await sync.prepare(stop.signal);
  const running = sync.run(stop.signal);
  const end = async () => {
    stop.abort();
    await running.catch(() => undefined);
    await sync.stop();
  };
  t.teardown(end);
  return { sync, registry, end };
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
    const { sync } = await start(t, harbour);
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
  const { sync, registry } = await start(t, harbour);
  const before = harbour.server.requests.length;
  sync.wake();
  const counted = async () => (await registry.metrics()).includes('result="unchanged"} 1');
  await until('it is counted', counted);
  t.equal(harbour.server.requests.length, before + 1);
});

t.test('a commit that starts no worker is taken back, and the next commit is tried', async (t) => {
  const harbour = await openHarbour(t, files);
  const { sync, registry } = await start(t, harbour);
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
  t.match(harbour.events('commit_rolled_back'), [
    { commit: bad, last_good_commit: first, why: 'a hook blocks' },
  ]);
  t.match(await registry.metrics(), `commit="${bad}",last_good_commit="${first}"} 1`);
  harbour.server.fault(undefined);
  sync.wake();
  await until('it has asked', async () =>
    (await registry.metrics()).includes('result="unchanged"} 0'),
  );
  const next = harbour.repository.commit({
    'CLAUDE.md': 'better\n',
    'new.md': null,
    'skills/a/SKILL.md': 'two\n',
  });
  sync.wake();
  await until('the next commit is there', hasEnded(next));
  t.equal(harbour.read('CLAUDE.md'), 'better\n');
});

t.test('a git server that fails changes nothing, and is asked again', async (t) => {
  const harbour = await openHarbour(t, files);
  const { sync } = await start(t, harbour, { BERTH_SYNC_INTERVAL: '1s' });
  harbour.repository.commit({ 'CLAUDE.md': 'two\n' });
  harbour.server.fault({ kind: 'status', status: 503 });
  sync.wake();
  await until('it has failed', () => harbour.events('sync_failed').length > 0);
  t.equal(harbour.read('CLAUDE.md'), 'one\n');
  harbour.server.fault(undefined);
  sync.wake();
  await until('the commit is there', () => harbour.read('CLAUDE.md') === 'two\n');
});

t.test('a force push to an older commit is followed', async (t) => {
  const harbour = await openHarbour(t, files);
  harbour.repository.commit({ 'CLAUDE.md': 'two\n' });
  const { sync } = await start(t, harbour);
  harbour.repository.rewrite({ ...files, 'CLAUDE.md': 'rewritten\n' });
  sync.wake();
  await until('the commit is there', () => harbour.read('CLAUDE.md') === 'rewritten\n');
});

t.test('an edit on the volume stays, and is merged with a push', async (t) => {
  const text = 'one\n\ntwo\n\nthree\n';
  const harbour = await openHarbour(t, { ...files, 'CLAUDE.md': text });
  const { sync } = await start(t, harbour);
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
    const first = await start(t, harbour);
    const { lease, heard } = await joinAs(harbour);
    t.teardown(() => lease.release());
    await first.end();
    const login = join(harbour.volume, '.credentials.json');
    writeFileSync(login, 'written by the CLI');
    const temporary = join(harbour.volume, '.berth/.berth-0123456789ab.tmp');
    writeFileSync(temporary, 'of the supervisor');
    await start(t, harbour);
    t.equal(readFileSync(login, 'utf8'), 'written by the CLI');
    t.ok(existsSync(temporary));
    t.ok(heard.length > 0);
  },
);
