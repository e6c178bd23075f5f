/** Runs that the git server fails or refuses: what the volume has is gone on with, or nothing is. */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type Harbour, openHarbour } from './fixture.ts';

t.test('without the git server a complete volume is gone on with, and that is said', async (t) => {
  const harbour = await openHarbour(t);
  const { commit } = await harbour.run();
  harbour.repository.commit({ 'CLAUDE.md': 'two' });
  for (const status of [404, 403, 401]) {
    harbour.server.fault({ kind: 'status', status });
    const report = await harbour.run();
    t.match(report, { remote: 'failed', commit, remote_error: { code: 'remote_refused' } });
    t.ok(report.age_ms > 0);
  }
  t.match(harbour.events('remote_failed')[0], { level: 'error', msg: /going on with/ });
  await t.rejects(harbour.run({ BERTH_ON_REMOTE_FAILURE: 'fail' }), { code: 'remote_refused' });
});

t.test('without the git server damage is repaired from what was fetched before', async (t) => {
  const harbour = await openHarbour(t);
  await harbour.run();
  rmSync(join(harbour.volume, 'CLAUDE.md'));
  harbour.server.fault({ kind: 'status', status: 404 });
  t.match(await harbour.run(), { remote: 'failed', restored: 1 });
  t.equal(harbour.read('CLAUDE.md'), '# one\n');
  rmSync(join(harbour.volume, 'CLAUDE.md'));
  rmSync(join(harbour.volume, '.berth/git'), { recursive: true });
  await t.rejects(harbour.run(), { code: 'remote_unavailable', message: /complete the volume/ });
});

t.test('without the git server nothing else is gone on with', async (t) => {
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
});

const deleteBranch = ({ repository }: Harbour, name: string) =>
  execFileSync('git', ['update-ref', '-d', `refs/heads/${name}`], { cwd: repository.path });

t.test('a ref that was deleted upstream is an error with what was fetched before', async (t) => {
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
});

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
