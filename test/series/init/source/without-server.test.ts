/** Runs that the git server fails or refuses: what the volume has is gone on with, or nothing is. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { acquire, prepareHeld } from '../../../../init/prepare.ts';
import { type Harbour, openHarbour } from '../../../init/fixture.ts';

t.test(
  'without the git server, init continues with a complete volume and logs an error',
  async (t) => {
    const harbour = await openHarbour(t);
    const { commit } = await harbour.run();
    harbour.repository.commit({ 'CLAUDE.md': 'two' });
    for (const status of [404, 403, 401]) {
      harbour.server.fault({ kind: 'status', status });
      const report = await harbour.run();
      t.match(report, { remote: 'failed', commit, remote_error: { code: 'remote_refused' } });
      t.ok(report.age_ms > 0);
    }
    t.match(harbour.events('remote_failed')[0], { level: 'error', msg: /continuing with/ });
    await t.rejects(harbour.run({ BERTH_ON_REMOTE_FAILURE: 'fail' }), { code: 'remote_refused' });
  },
);

t.test('the server gets a share of the time that is left', async (t) => {
  const harbour = await openHarbour(t);
  const { commit } = await harbour.run();
  harbour.server.fault({ kind: 'hang' });
  const config = harbour.config({ BERTH_TIMEOUT: '1h' });
  const { log } = harbour;
  const { signal } = new AbortController();
  const lease = await acquire({ config, log, signal });
  t.teardown(() => lease.release());
  // The program has waited for the lease for nearly all of its hour.
  const started = performance.now() - 3_599_000;
  const report = await prepareHeld({ config, log, lease, signal, started });
  t.match(report, { remote: 'failed', commit });
});

t.test('a clock that was set back makes no age below 0', async (t) => {
  const harbour = await openHarbour(t);
  await harbour.run();
  const path = join(harbour.volume, '.berth/report.json');
  const report = JSON.parse(readFileSync(path, 'utf8'));
  const tomorrow = new Date(Date.now() + 86_400_000).toISOString();
  writeFileSync(path, JSON.stringify({ ...report, confirmed_at: tomorrow }));
  harbour.server.fault({ kind: 'status', status: 404 });
  t.match(await harbour.run(), { remote: 'failed', age_ms: 0 });
  t.match(harbour.events('remote_failed'), [{ age_ms: 0, msg: /confirmed 1m ago/ }]);
});

t.test('without the git server, init repairs damage from the earlier fetch', async (t) => {
  const harbour = await openHarbour(t);
  await harbour.run();
  rmSync(join(harbour.volume, 'CLAUDE.md'));
  harbour.server.fault({ kind: 'status', status: 404 });
  t.match(await harbour.run(), { remote: 'failed', restored: 1 });
  t.equal(harbour.read('CLAUDE.md'), '# one\n');
  rmSync(join(harbour.volume, 'CLAUDE.md'));
  rmSync(join(harbour.volume, '.berth/git'), { recursive: true });
  harbour.server.fault({ kind: 'status', status: 401 });
  const message = /does not accept the token \(401\).* the volume cannot be completed/;
  await t.rejects(harbour.run(), { code: 'remote_refused', exitCode: 77, message });
});

t.test(
  'without the git server, an empty volume, another repository or another ref is refused',
  async (t) => {
    const harbour = await openHarbour(t);
    harbour.server.fault({ kind: 'status', status: 404 });
    await t.rejects(harbour.run(), { code: 'remote_refused' }, 'an empty volume');
    harbour.server.fault(undefined);
    await harbour.run();
    const before = harbour.tree();
    const other = harbour.url.replace('claude', 'other');
    await t.rejects(
      harbour.run({ BERTH_REPO: other }),
      { code: 'remote_refused' },
      'another repository',
    );
    await t.rejects(harbour.run({ BERTH_REF: 'other' }), { code: 'remote_refused' }, 'another ref');
    t.strictSame(harbour.tree(), before);
  },
);

const deleteBranch = ({ repository }: Harbour, name: string) =>
  execFileSync('git', ['update-ref', '-d', `refs/heads/${name}`], { cwd: repository.path });

t.test(
  'if the ref was deleted upstream, init logs an error and keeps the fetched commit',
  async (t) => {
    const harbour = await openHarbour(t);
    harbour.repository.branch('feature');
    const feature = { BERTH_REF: 'feature' };
    const { commit } = await harbour.run(feature);
    harbour.repository.commit({ 'CLAUDE.md': 'two' });
    deleteBranch(harbour, 'feature');
    const message = /no branch or tag "feature"; it has main; correct BERTH_REF/;
    t.match(await harbour.run(feature), {
      remote: 'failed',
      commit,
      ref: 'feature',
      remote_error: { code: 'remote_refused', message },
    });
    t.match(harbour.events('remote_failed'), [{ level: 'error', error: { message } }]);
    t.equal(harbour.read('CLAUDE.md'), '# one\n');
    const strict = { ...feature, BERTH_ON_REMOTE_FAILURE: 'fail' };
    await t.rejects(harbour.run(strict), { code: 'remote_refused', exitCode: 77, message });
  },
);

t.test('a ref that was deleted upstream is refused where nothing of it is there', async (t) => {
  const harbour = await openHarbour(t);
  harbour.repository.branch('feature');
  deleteBranch(harbour, 'feature');
  const run = () => harbour.run({ BERTH_REF: 'feature' });
  await t.rejects(run(), { exitCode: 77, message: /no branch or tag "feature"/ });
  t.strictSame(harbour.tree(), {});
  await harbour.run();
  const before = harbour.tree();
  await t.rejects(run(), { code: 'remote_refused' }, 'another ref is no substitute');
  t.strictSame(harbour.tree(), before);
});

/** Flips a bit of everything fetched: only reading it shows that. */
function spoilObjects({ volume }: Harbour): void {
  const directory = join(volume, '.berth/git/objects/pack');
  const names = readdirSync(directory).filter((name) => name.endsWith('.pack'));
  for (const path of names.map((name) => join(directory, name))) {
    const content = readFileSync(path);
    for (let at = 20; at < content.length - 20; at += 3) content[at] = (content[at] ?? 0) ^ 0xff;
    chmodSync(path, 0o644);
    writeFileSync(path, content);
  }
}

const files = { 'a.md': 'a one\n', 'b.md': 'b one\n', 'settings.json': '{}\n' };

t.test(
  'a server that fails while damaged objects are fetched again leaves a whole tree',
  async (t) => {
    const harbour = await openHarbour(t, files);
    const { commit } = await harbour.run();
    spoilObjects(harbour);
    harbour.repository.commit({ 'a.md': 'a two\n' });
    harbour.server.fault({ kind: 'drop', afterBytes: 60 });
    t.match(await harbour.run(), { remote: 'failed', commit, written: 0, conflicts: 0 });
    t.strictSame(harbour.tree(), files);
    harbour.server.fault(undefined);
    t.match(await harbour.run(), { remote: 'current', written: 1 });
  },
);

/** A run to the next commit fetched it and was killed before it had changed anything. */
async function fetchedOnly(t: Test) {
  const harbour = await openHarbour(t, files);
  const { commit } = await harbour.run();
  const record = join(harbour.volume, '.berth/applied.json');
  const before = readFileSync(record);
  harbour.repository.commit({ 'a.md': 'a two\n' });
  await harbour.run();
  const pending = readFileSync(record);
  writeFileSync(record, before);
  writeFileSync(join(harbour.volume, 'a.md'), 'a one\n');
  return { harbour, commit, pending };
}

t.test(
  'if fetched objects are damaged and the server fails, init keeps the last complete state',
  async (t) => {
    const { harbour, commit } = await fetchedOnly(t);
    spoilObjects(harbour);
    harbour.server.fault({ kind: 'drop', afterBytes: 60 });
    t.match(await harbour.run(), {
      remote: 'failed',
      commit,
      remote_error: { code: 'remote_unavailable' },
    });
    t.strictSame(harbour.tree(), files);
    t.match(harbour.events('remote_failed'), [{ level: 'error' }]);
    const strict = harbour.run({ BERTH_ON_REMOTE_FAILURE: 'fail' });
    await t.rejects(strict, { code: 'remote_unavailable' });
    t.strictSame(harbour.tree(), files, 'nothing is half done');
    harbour.server.fault(undefined);
    t.match(await harbour.run(), { remote: 'current', conflicts: 0 });
    t.strictSame(harbour.tree(), { ...files, 'a.md': 'a two\n' });
  },
);

t.test('a blob that is damaged while the server is down changes no file', async (t) => {
  const { harbour, commit } = await fetchedOnly(t);
  spoilBlob(harbour, 'a.md');
  harbour.server.fault({ kind: 'drop', afterBytes: 60 });
  t.match(await harbour.run(), { remote: 'failed', commit, written: 0, conflicts: 0 });
  t.strictSame(harbour.tree(), files);
  t.notOk(existsSync(join(harbour.volume, '.berth/pending.json')));
  harbour.server.fault(undefined);
  t.match(await harbour.run(), { remote: 'current', volume: 'complete', conflicts: 0 });
  t.strictSame(harbour.tree(), { ...files, 'a.md': 'a two\n' });
});

/** Flips a bit of what the file is now upstream, and of nothing else. */
function spoilBlob({ volume, repository }: Harbour, path: string): void {
  const git = (...all: string[]) =>
    execFileSync('git', all, { cwd: repository.path, encoding: 'utf8' });
  const oid = git('rev-parse', `main:${path}`).trim();
  const directory = join(volume, '.berth/git/objects/pack');
  for (const name of readdirSync(directory).filter((one) => one.endsWith('.pack'))) {
    const pack = join(directory, name);
    const row = git('verify-pack', '-v', pack)
      .split('\n')
      .find((line) => line.startsWith(oid));
    if (!row) continue;
    const content = readFileSync(pack);
    const at = Number(row.split(/ +/)[4]) + 6;
    content[at] = (content[at] ?? 0) ^ 0xff;
    chmodSync(pack, 0o644);
    writeFileSync(pack, content);
  }
}

t.test(
  'after an interrupted run init continues with the earlier or the pending commit, whichever is complete',
  async (t) => {
    const { harbour, commit, pending } = await fetchedOnly(t);
    writeFileSync(join(harbour.volume, '.berth/pending.json'), pending);
    rmSync(join(harbour.volume, '.berth/git'), { recursive: true });
    harbour.server.fault({ kind: 'status', status: 404 });
    t.match(await harbour.run(), { remote: 'failed', volume: 'interrupted', commit, written: 0 });
    t.strictSame(harbour.tree(), files);
    writeFileSync(join(harbour.volume, '.berth/pending.json'), pending);
    writeFileSync(join(harbour.volume, 'a.md'), 'a two\n');
    t.match(await harbour.run(), {
      remote: 'failed',
      commit: harbour.repository.head(),
      written: 0,
    });
    writeFileSync(join(harbour.volume, '.berth/pending.json'), pending);
    rmSync(join(harbour.volume, 'b.md'));
    const before = harbour.tree();
    await t.rejects(harbour.run(), { code: 'remote_refused', message: /cannot be completed/ });
    t.strictSame(harbour.tree(), before, 'what cannot be finished is not begun');
  },
);

t.test('an announcement that cannot be read does not hide a whole tree', async (t) => {
  const { harbour, commit } = await fetchedOnly(t);
  const damage = () => writeFileSync(join(harbour.volume, '.berth/pending.json'), '{');
  damage();
  rmSync(join(harbour.volume, '.berth/git'), { recursive: true });
  harbour.server.fault({ kind: 'status', status: 404 });
  t.match(await harbour.run(), { remote: 'failed', volume: 'damaged_record', commit, written: 0 });
  damage();
  writeFileSync(join(harbour.volume, 'a.md'), 'a two\n');
  await t.rejects(
    harbour.run(),
    { code: 'remote_refused' },
    'what could be half of it does not do',
  );
  t.equal(harbour.read('a.md'), 'a two\n');
});
