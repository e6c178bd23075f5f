import { existsSync, lstatSync, mkdirSync, rmdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  findLocks,
  refreshEnded,
  refreshLock,
  removeLock,
  withRefreshLock,
} from '../../../supervisor/claude/locks.ts';

const pid = 4_000_001;
const { signal } = new AbortController();

/** A configuration directory with the lock of a refresh that was touched `age` seconds ago. */
function withLock(t: Test, { holder, age = 0 }: { holder?: number; age?: number } = {}) {
  const config = t.testdir({ [refreshLock]: {} });
  const lock = join(config, refreshLock);
  const touched = Date.now() / 1_000 - age;
  utimesSync(lock, touched, touched);
  const record = { pid: holder, lockBirthtimeMs: lstatSync(lock).birthtimeMs };
  if (holder !== undefined) writeFileSync(`${lock}.owner`, JSON.stringify(record));
  return { config, lock };
}

t.test('a lock is found with its holder, and whether it was left behind', async (t) => {
  const fresh = withLock(t, { holder: pid });
  t.match(await findLocks(fresh.config), [
    { path: fresh.lock, isRefresh: true, holder: pid, isAbandoned: false },
  ]);
  const old = withLock(t, { age: 60 });
  mkdirSync(join(old.config, '.storage-write.lock'));
  t.match(await findLocks(old.config), [
    { holder: undefined, isAbandoned: true },
    { isRefresh: false, holder: undefined, isAbandoned: false },
  ]);
});

t.test('a record of another lock and an invalid record name no holder', async (t) => {
  const { config, lock } = withLock(t);
  for (const record of [JSON.stringify({ pid, lockBirthtimeMs: 1 }), '{"pid":"x"}', '{']) {
    writeFileSync(`${lock}.owner`, record);
    t.match(await findLocks(config), [{ holder: undefined }], record);
  }
});

t.test('a lock goes with its record, unless something is in it', async (t) => {
  const { config, lock } = withLock(t, { holder: pid });
  const [seen] = await findLocks(config);
  if (!seen) throw new Error('the lock is there');
  mkdirSync(join(lock, 'full'));
  removeLock(seen);
  t.ok(existsSync(lock));
  const other = withLock(t, { holder: pid });
  const [empty] = await findLocks(other.config);
  if (!empty) throw new Error('the lock is there');
  removeLock(empty);
  t.notOk(existsSync(other.lock));
  t.notOk(existsSync(`${other.lock}.owner`));
});

t.test('a refresh is waited for, bounded; an abandoned one or another is not', async (t) => {
  const wait = async (situation: Parameters<typeof withLock>[1], bound: number) => {
    const { config } = withLock(t, situation);
    const began = performance.now();
    await refreshEnded({ pid, configDirectory: config }, bound);
    return performance.now() - began;
  };
  t.ok((await wait({ holder: pid }, 200)) >= 199);
  t.ok((await wait({}, 200)) >= 199);
  // A wait of ten minutes would end with the deadline of the test.
  await wait({ holder: 77 }, 600_000);
  await wait({ holder: pid, age: 60 }, 600_000);
});

t.test('work under the lock begins when no process refreshes any more', async (t) => {
  const { config, lock } = withLock(t);
  let waited = 0;
  const working = withRefreshLock(
    config,
    signal,
    () => {
      waited += 1;
      rmdirSync(lock);
    },
    async () => existsSync(lock),
  );
  t.equal(await working, true, 'the lock is held while the work runs');
  t.equal(waited, 1);
  t.notOk(existsSync(lock), 'and given back after it');
});

t.test('the lock is released when the work fails', async (t) => {
  const config = t.testdir();
  const failing = withRefreshLock(
    config,
    signal,
    () => {},
    () => Promise.reject(new Error('no')),
  );
  await t.rejects(failing, { message: 'no' });
  t.notOk(existsSync(join(config, refreshLock)));
});

t.test('a lock that a killed process has left for long is taken', async (t) => {
  const { config } = withLock(t, { age: 120 });
  t.equal(
    await withRefreshLock(
      config,
      signal,
      () => {},
      async () => 'done',
    ),
    'done',
  );
});

t.test('the wait for the lock ends with the reason of its signal', async (t) => {
  const { config, lock } = withLock(t);
  const stop = AbortSignal.timeout(20);
  const waiting = withRefreshLock(
    config,
    stop,
    () => {},
    async () => t.fail('it began'),
  );
  await t.rejects(waiting, { name: 'TimeoutError' });
  t.ok(existsSync(lock));
});

t.test('if the directory cannot be written, the error is volume_unwritable', async (t) => {
  const config = t.testdir({ file: '' });
  const failing = withRefreshLock(
    join(config, 'file'),
    signal,
    () => {},
    async () => {},
  );
  await t.rejects(failing, { code: 'volume_unwritable' });
});
