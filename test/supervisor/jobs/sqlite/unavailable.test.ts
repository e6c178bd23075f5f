/** While the store cannot be used, calls reject with the cause; nothing is lost, and the store goes on by itself. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import t from 'tap';
import { silent } from '../../../../shared/log.ts';
import { refuseUnfit } from '../../../../supervisor/jobs/sqlite/file-system.ts';
import type { Calls } from '../../../../supervisor/jobs/sqlite/protocol.ts';
import { openJobStore } from '../../../../supervisor/jobs/sqlite/sqlite-job-store.ts';
import { storeError } from '../../../../supervisor/jobs/sqlite/store-error.ts';
import { ThreadClient } from '../../../../supervisor/jobs/sqlite/thread-client.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { testDirectory } from '../../../support/directory.ts';
import { cannotMount, mountSmall } from '../../../support/small-volume.ts';
import { sampleJob } from '../../../support/stored-job.ts';
import { until } from '../../../support/until.ts';

const client = new ThreadClient();
t.teardown(() => client.end());
const most = 10_000;
const skip = cannotMount;

t.test('on a full disk nothing that was accepted is lost', { skip }, async (t) => {
  const root = testDirectory(t, { volume: {} });
  const volume = mountSmall(join(root, 'volume'), 'size=2m');
  t.teardown(() => volume[Symbol.dispose]());
  const stateDirectory = join(root, 'volume/state');
  mkdirSync(stateDirectory);
  const { log, lines, count } = captureLog();
  const store = await openJobStore({ stateDirectory, most, log, client });
  const accepted: string[] = [];
  let failure: unknown;
  while (failure === undefined) {
    const job = sampleJob({ request: { prompt: 'x'.repeat(20_000) } });
    await store.add(job).then(
      () => accepted.push(job.id),
      (error: unknown) => {
        failure = error;
      },
    );
  }
  t.match(failure, {
    code: 'job_store_unavailable',
    message: /the disk is full, enlarge the volume/,
  });
  t.equal(store.describe().available, false);
  t.ok(accepted.length > 10);
  await t.rejects(
    Promise.all(
      [1, 2, 3].map(() => store.add(sampleJob({ request: { prompt: 'x'.repeat(300_000) } }))),
    ),
    { code: 'job_store_unavailable' },
    'together too',
  );
  for (const id of accepted) t.ok(await store.read(id));
  t.equal(store.describe().available, false, 'reads that succeed do not hide the full disk');
  t.equal(count('job_store_unavailable'), 1);
  volume.mount('remount,size=8m');
  t.equal((await store.add(sampleJob())).created, true);
  t.equal(store.describe().available, true);
  t.equal(count('job_store_recovered'), count('job_store_unavailable'), `${lines.length} lines`);
  await store.close();
  const reopened = await openJobStore({ stateDirectory, most, log, client });
  for (const id of accepted) t.ok(await reopened.read(id));
  await reopened.close();
});

/** A kernel that has made a file system read-only refuses writes also to open files; a mount does not. */
class RefusedAdds extends ThreadClient {
  override call<K extends keyof Calls>(name: K, ...args: Parameters<Calls[K]>) {
    if (name !== 'add') return super.call(name, ...args);
    const path = 'jobs.sqlite';
    return Promise.reject(storeError(Object.assign(new Error('readonly'), { errcode: 8 }), path));
  }
}

t.test('while the volume is read-only, reads do not end the failure', { skip }, async (t) => {
  const stateDirectory = testDirectory(t, {});
  const earlier = await openJobStore({ stateDirectory, most, log: silent, client });
  await earlier.add(sampleJob());
  await earlier.close();
  const own = new RefusedAdds();
  const store = await openJobStore({ stateDirectory, most, log: silent, client: own });
  execFileSync('mount', ['--bind', stateDirectory, stateDirectory]);
  execFileSync('mount', ['-o', 'remount,bind,ro', stateDirectory]);
  const { now } = performance;
  t.teardown(() => {
    performance.now = now;
  });
  try {
    await t.rejects(store.add(sampleJob()), { message: /cannot be written, mount it writable/ });
    // No further write comes.
    performance.now = () => now.call(performance) + 3_600_000;
    t.equal((await store.counts(0)).byState.queued, 1);
    t.equal(store.describe().available, false);
  } finally {
    execFileSync('umount', ['--lazy', stateDirectory]);
  }
  await store.counts(0);
  t.equal(store.describe().available, true);
  await store.close();
  await own.end();
});

t.test('a file that another program has locked is opened after the lock is released', async (t) => {
  const stateDirectory = testDirectory(t, {});
  const other = new DatabaseSync(join(stateDirectory, 'jobs.sqlite'));
  other.exec('BEGIN EXCLUSIVE');
  const store = await openJobStore({ stateDirectory, most, log: silent, client });
  t.match(store.describe(), {
    available: false,
    problem: /has locked the file, end the other pod/,
  });
  await t.rejects(store.counts(0), { code: 'job_store_unavailable' });
  other.exec('ROLLBACK');
  other.close();
  await until('the store is open', () =>
    store.add(sampleJob()).then(
      () => true,
      () => false,
    ),
  );
  const second = await openJobStore({ stateDirectory, most, log: silent });
  t.match(
    second.describe(),
    { available: false, problem: /locked/ },
    'one store locks out another',
  );
  await second.close();
  await store.close();
});

t.test('file systems without locks or flushes are refused with the remedy', (t) => {
  const refused = [0x6969, 0xff534d42 | 0, 0xfe534d42, 0x01021997];
  for (const type of refused) {
    t.throws(() => refuseUnfit('/state', type), {
      code: 'job_store_unavailable',
      message: /use a local or block volume.*BERTH_REDIS_URL/,
    });
  }
  for (const type of [0xef53, 0x58465342, 0x9123683e, 0x794c7630]) {
    t.doesNotThrow(() => refuseUnfit('/state', type), 'ext4, XFS, btrfs, overlay');
  }
  t.end();
});

t.test('a job that was acknowledged before a kill -9 is stored', async (t) => {
  const stateDirectory = testDirectory(t, {});
  for (const least of [1, 40]) {
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, 'add-jobs.ts'), stateDirectory],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const acknowledged: string[] = [];
    const ended = new Promise((resolve) => child.once('exit', resolve));
    for await (const line of createInterface(child.stdout)) {
      acknowledged.push(line);
      if (acknowledged.length === least) child.kill('SIGKILL');
    }
    await ended;
    const store = await openJobStore({ stateDirectory, most, log: silent, client });
    t.equal(store.describe().problem, null);
    for (const id of acknowledged) t.ok(await store.read(id));
    await store.close();
  }
});

t.test('a thread that ended is started again', async (t) => {
  const stateDirectory = testDirectory(t, {});
  const own = new ThreadClient();
  const store = await openJobStore({ stateDirectory, most, log: silent, client: own });
  const job = sampleJob();
  await store.add(job);
  await own.end();
  await store.read(job.id).catch(() => undefined);
  await until('the store is open again', () =>
    store.read(job.id).then(
      (found) => found?.id === job.id,
      () => false,
    ),
  );
  await store.close();
  await own.end();
});
