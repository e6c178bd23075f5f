/** A volume that is full in the middle of a sync: no half of a commit is announced, nothing is lost. */
import { randomBytes } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openHarbour } from '../../init/fixture.ts';
import { joinAs, startSync } from '../../init/sync/fixture.ts';
import { cannotMount, mountSmall } from '../../support/small-volume.ts';
import { until } from '../../support/until.ts';

const skip = cannotMount;
const files = { 'CLAUDE.md': 'one\n', 'docs/a.md': 'a\n', 'settings.json': '{}\n' };
const noise = (bytes: number) => randomBytes(bytes).toString('base64');

t.test('a commit that does not fit is finished once there is room', { skip }, async (t) => {
  const harbour = await openHarbour(t, files);
  using disk = mountSmall(harbour.volume, 'size=1m');
  const { sync, end } = await startSync(t, harbour);
  const { lease, heard } = await joinAs(harbour);
  const ends = (commit: string) =>
    heard.filter((each) => each.kind === 'end' && each.commit === commit).length;
  writeFileSync(join(harbour.volume, 'mine.txt'), 'mine');
  const large = noise(600_000);
  const commit = harbour.repository.commit({ 'CLAUDE.md': 'two\n', 'large.bin': large });
  sync.wake();
  const failed = await until('it has failed', () => harbour.events('sync_failed')[0]);
  t.match(JSON.stringify(failed.error), /the disk is full, enlarge the volume/);
  t.equal(ends(commit), 0);
  t.equal(harbour.read('mine.txt'), 'mine');
  t.match(harbour.read('CLAUDE.md'), /^(one|two)\n$/);
  t.equal(harbour.read('large.bin'), undefined, 'there is no half of a file');
  disk.mount('remount,size=8m');
  sync.wake();
  await until('the commit is announced', () => ends(commit) > 0);
  t.same(harbour.tree(), {
    ...files,
    'CLAUDE.md': 'two\n',
    'large.bin': large,
    'mine.txt': 'mine',
  });
  t.notOk(existsSync(join(harbour.volume, '.berth/pending.json')));
  t.same(harbour.conflicts(), []);
  await lease.release();
  await end();
});
