import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { hasReserve, makeReserve, openReserve, releaseReserve } from '../../shared/disk-reserve.ts';
import { testDirectory } from '../support/directory.ts';
import { cannotMount, mountSmall } from '../support/small-volume.ts';

t.test('a reserve is made once, and released once', async (t) => {
  openReserve(testDirectory(t));
  t.equal(releaseReserve(), false);
  makeReserve(5_000);
  t.ok(hasReserve());
  t.equal(releaseReserve(), true);
  t.notOk(hasReserve());
});

t.test(
  'on a volume that the kernel has made read-only, a reserve is neither made nor released',
  { skip: cannotMount },
  async (t) => {
    const directory = testDirectory(t);
    using volume = mountSmall(directory, 'size=4m');
    const state = join(directory, '.berth');
    mkdirSync(state);
    openReserve(state);
    makeReserve(5_000);
    volume.mount('remount,ro');
    t.equal(releaseReserve(), false);
    t.ok(hasReserve());
    volume.mount('remount,rw');
    t.equal(releaseReserve(), true);
    volume.mount('remount,ro');
    makeReserve(5_000);
    t.notOk(hasReserve());
  },
);
