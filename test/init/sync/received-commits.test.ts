import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { until } from '../../support/until.ts';
import { type Harbour, openHarbour } from '../fixture.ts';
import { joinAs, startSync } from './fixture.ts';

const files = { 'CLAUDE.md': 'one\n', 'skills/a/SKILL.md': 'one\n', 'settings.json': '{}\n' };
const badFiles = { 'CLAUDE.md': 'bad\n', 'skills/a/SKILL.md': 'bad\n', 'new.md': 'x' };
const recordOf = ({ volume }: Harbour) => join(volume, '.berth/received-commits.json');

interface RolledBack {
  harbour: Harbour;
  good: string;
  bad: string;
}

/** A volume that went back to its first commit; both programs have ended. */
async function rollBack(): Promise<RolledBack> {
  const harbour = await openHarbour(t, files);
  const { sync, end } = await startSync(t, harbour);
  const good = harbour.repository.head();
  const { lease, peer, heard } = await joinAs(harbour);
  const hasEnded = (commit: string) => () =>
    heard.filter(({ kind }) => kind === 'end').at(-1)?.commit === commit;
  peer.send({ kind: 'verdict', commit: good, good: true });
  const bad = harbour.repository.commit(badFiles);
  sync.wake();
  await until('the bad commit is there', hasEnded(bad));
  peer.send({ kind: 'verdict', commit: bad, good: false, reason: 'a hook blocks' });
  await until('the good commit is back', hasEnded(good));
  await lease.release();
  await end();
  return { harbour, good, bad };
}

const shared = await rollBack();
const kept = join(shared.harbour.directory, 'kept');
cpSync(shared.harbour.volume, kept, { recursive: true, preserveTimestamps: true });

/** The volume as it was when it had gone back. */
function restored(): RolledBack {
  const { harbour } = shared;
  rmSync(harbour.volume, { recursive: true });
  cpSync(kept, harbour.volume, { recursive: true, preserveTimestamps: true });
  harbour.server.fault(undefined);
  harbour.lines.length = 0;
  return shared;
}

t.test('a restart goes back if the kill came before the volume went back', async (t) => {
  const { harbour } = restored();
  const record = readFileSync(recordOf(harbour));
  rmSync(recordOf(harbour));
  const { end } = await startSync(t, harbour);
  t.match(harbour.tree(), badFiles, 'without the record the bad commit is written');
  await end();
  writeFileSync(recordOf(harbour), record);
  await startSync(t, harbour);
  t.same(harbour.tree(), files);
});

t.test('a restart without the git server goes back too', async (t) => {
  const { harbour } = restored();
  const record = readFileSync(recordOf(harbour));
  rmSync(recordOf(harbour));
  await (await startSync(t, harbour)).end();
  writeFileSync(recordOf(harbour), record);
  harbour.server.fault({ kind: 'status', status: 503 });
  await startSync(t, harbour);
  t.same(harbour.tree(), files);
});

t.test('deleting the record has the same commit tried again', async (t) => {
  const { harbour } = restored();
  const { sync } = await startSync(t, harbour);
  rmSync(recordOf(harbour));
  sync.wake();
  await until('the commit is tried', () => harbour.read('CLAUDE.md') === 'bad\n');
  t.ok(existsSync(recordOf(harbour)));
});

t.test('a record that init did not write is set aside, and upstream is written', async (t) => {
  const { harbour, good, bad } = restored();
  const written = JSON.parse(readFileSync(recordOf(harbour), 'utf8'));
  const forged = [
    JSON.stringify({ ...written, bad: { ...written.bad, last_good_commit: bad, commit: good } }),
    JSON.stringify({ ...written, proof: '0'.repeat(64) }),
    JSON.stringify({ ...written, received: 'all' }),
    JSON.stringify({ ...written, version: 2 }),
    JSON.stringify(written).slice(0, 90),
    '',
  ];
  for (const text of forged) {
    writeFileSync(recordOf(harbour), text);
    const before = harbour.events('commits_set_aside').length;
    const { end } = await startSync(t, harbour);
    t.equal(harbour.read('CLAUDE.md'), 'bad\n', text.slice(0, 60));
    const [said] = harbour.events('commits_set_aside').slice(before);
    t.equal(readFileSync(String(said?.saved), 'utf8'), text);
    await end();
  }
});

t.test('a directory in place of the record is repaired', async (t) => {
  const { harbour } = restored();
  rmSync(recordOf(harbour));
  mkdirSync(recordOf(harbour));
  await startSync(t, harbour);
  t.equal(harbour.read('CLAUDE.md'), 'bad\n');
});

t.test('a record made with another token proves nothing', async (t) => {
  const { harbour } = restored();
  harbour.server.fault({ kind: 'status', status: 503 });
  await startSync(t, harbour, { BERTH_GIT_TOKEN: 'another-token-0123456789' });
  t.match(harbour.events('commits_set_aside'), [{ why: /git token/ }]);
});

t.test('if the last good commit is lost, the bad commit is tried again', async (t) => {
  const { harbour, bad } = restored();
  rmSync(join(harbour.volume, '.berth/previous'), { recursive: true });
  await startSync(t, harbour);
  t.equal(harbour.read('CLAUDE.md'), 'bad\n');
  t.match(harbour.events('commit_bad'), [{ commit: bad }]);
});

t.test('a repair during that time does not write the bad commit', async (t) => {
  const { harbour, bad } = restored();
  const { sync } = await startSync(t, harbour);
  const { lease, peer, heard } = await joinAs(harbour);
  t.teardown(() => lease.release());
  writeFileSync(join(harbour.volume, 'settings.json'), '{"hooks":{}}\n');
  peer.send({ kind: 'repair' });
  await until('it is repaired', () => harbour.read('settings.json') === '{}\n');
  sync.wake();
  t.same(harbour.tree(), files);
  t.notOk(heard.some(({ commit }) => commit === bad));
});

t.test(
  'sync does not return to a commit that is missing in the record of received commits',
  async (t) => {
    const { harbour } = restored();
    const written = JSON.parse(readFileSync(recordOf(harbour), 'utf8'));
    // As after an attack: `previous/` names a commit that the record does not have.
    rmSync(recordOf(harbour));
    t.ok(written.received.length >= 2);
    const { sync } = await startSync(t, harbour);
    const { lease, peer, heard } = await joinAs(harbour);
    t.teardown(() => lease.release());
    const head = harbour.repository.head();
    peer.send({ kind: 'verdict', commit: head, good: false, reason: 'forged' });
    await until('it is refused', () => harbour.events('commit_bad').length > 0);
    sync.wake();
    t.equal(harbour.read('CLAUDE.md'), 'bad\n');
    t.notOk(heard.some(({ kind }) => kind === 'begin'));
  },
);

t.test('a restart keeps the last good commit, and a new commit ends that', async (t) => {
  const { harbour, good, bad } = restored();
  const { sync, registry } = await startSync(t, harbour);
  t.same(harbour.tree(), files);
  t.match(harbour.events('commit_rolled_back'), [
    { commit: bad, last_good_commit: good, why: 'a hook blocks' },
  ]);
  t.match(await registry.metrics(), `commit="${bad}",last_good_commit="${good}"} 1`);
  harbour.repository.commit({ 'CLAUDE.md': 'better\n' });
  sync.wake();
  await until('the next commit is there', () => harbour.read('CLAUDE.md') === 'better\n');
  t.notMatch(await registry.metrics(), bad);
  t.notOk('bad' in JSON.parse(readFileSync(recordOf(harbour), 'utf8')));
});
