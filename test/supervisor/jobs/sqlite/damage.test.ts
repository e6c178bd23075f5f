/** A damaged, foreign or missing file: what can be read is saved, nothing is deleted, and the store goes on. */
import {
  existsSync,
  globSync,
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import t, { type Test } from 'tap';
import { silent } from '../../../../shared/log.ts';
import type { Job } from '../../../../supervisor/jobs/job.ts';
import { become } from '../../../../supervisor/jobs/job.ts';
import type { JobStore } from '../../../../supervisor/jobs/job-store.ts';
import { openJobStore } from '../../../../supervisor/jobs/sqlite/sqlite-job-store.ts';
import { ThreadClient } from '../../../../supervisor/jobs/sqlite/thread-client.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { testDirectory } from '../../../support/directory.ts';
import { cannotMount, mountSmall } from '../../../support/small-volume.ts';
import { sampleJob, sampleResult } from '../../../support/stored-job.ts';
import { until } from '../../../support/until.ts';

const client = new ThreadClient();
t.teardown(() => client.end());
const skip = cannotMount;

function makeVolume(t: Test) {
  const stateDirectory = testDirectory(t, {});
  const path = join(stateDirectory, 'jobs.sqlite');
  const captured = captureLog();
  let store: JobStore | undefined;
  t.teardown(() => store?.close());
  const open = async (): Promise<JobStore> => {
    await store?.close();
    store = await openJobStore({ stateDirectory, most: 1_000, log: captured.log, client });
    return store;
  };
  const close = async (): Promise<void> => store?.close();
  const edit = (sql: string): void => {
    const db = new DatabaseSync(path);
    db.exec(sql);
    db.close();
  };
  return { stateDirectory, path, open, close, edit, ...captured, captured };
}

/** Adds jobs whose prompts fill a page each, and closes the store. */
async function fill(open: () => Promise<JobStore>, count: number): Promise<Job[]> {
  const store = await open();
  const jobs = Array.from({ length: count }, () =>
    sampleJob({ request: { prompt: 'x'.repeat(3_000) } }),
  );
  await Promise.all(jobs.map((job, index) => store.add(job, { key: `${index}`, digest: 'a' })));
  await store.appendEvents(jobs[0]?.id ?? '', [{ at: 1, event: 'queued', data: null }]);
  await store.close();
  return jobs;
}

t.test('of a torn file, all jobs that can be read are saved', async (t) => {
  const { path, open, captured, stateDirectory } = makeVolume(t);
  const jobs = await fill(open, 200);
  tear(path);
  const store = await open();
  const { saved, failed } = await captured.logged('jobs_salvaged');
  t.ok(Number(saved) >= 150, `${saved} of 200 jobs`);
  t.ok(Number(saved) - Number(failed) >= 150, `${failed} without their prompt`);
  t.equal(captured.count('job_store_damaged'), 1);
  t.equal(globSync(join(stateDirectory, 'conflicts/*/jobs.sqlite')).length, 1);
  t.strictSame(store.describe().available, true);
  const { byState } = await store.counts(0);
  t.equal(byState.queued + byState.failed, saved);
  const claimed = await store.claim('a', 2_000);
  const original = jobs.find(({ id }) => id === claimed?.id);
  t.equal(claimed?.request.prompt, original?.request.prompt);
  const kept = await store.add(sampleJob(), {
    key: `${jobs.indexOf(original as Job)}`,
    digest: 'a',
  });
  t.equal(kept.created, false, 'keys are saved too');
});

t.test('a truncated file does not stop the store', async (t) => {
  const { path, open, captured } = makeVolume(t);
  await fill(open, 60);
  truncateSync(path, Math.floor(statSync(path).size / 2));
  const store = await open();
  t.match(await captured.logged('jobs_salvaged'), { level: 'warn' });
  t.equal((await store.add(sampleJob())).created, true);
});

/** Damages the pages in the middle of the file. */
function tear(path: string): void {
  const content = readFileSync(path);
  const middle = Math.floor(content.length / 8192) * 4096;
  content.fill(0xa5, middle, middle + 2 * 4096);
  writeFileSync(path, content);
}

t.test('a rescue that ends early at any step is repeated, without loss', async (t) => {
  let isInterrupted = true;
  for (let last = 1; isInterrupted; last++) {
    const { path, open, stateDirectory } = makeVolume(t);
    await fill(open, 100);
    tear(path);
    isInterrupted = false;
    let calls = 0;
    const call = async (...args: unknown[]): Promise<unknown> => {
      if (args[0] !== 'close' && ++calls > last) {
        isInterrupted = true;
        throw new Error('killed');
      }
      return Reflect.apply(client.call, client, args);
    };
    const killed = { call } as unknown as ThreadClient;
    const options = { stateDirectory, most: 1_000, log: silent };
    const first = await openJobStore({ ...options, client: killed });
    await first.close();
    const { byState } = await (await open()).counts(0);
    t.ok(byState.queued + byState.failed >= 75, `${byState.queued} jobs after call ${last}`);
  }
});

t.test('a complete new file replaces the damaged one after a kill', async (t) => {
  const { path, open, stateDirectory } = makeVolume(t);
  const [job] = await fill(open, 1);
  for (const damaged of ['damaged', undefined]) {
    renameSync(path, `${path}.new`);
    if (damaged) writeFileSync(path, damaged);
    const store = await open();
    t.strictSame(await store.read(job?.id ?? ''), job);
    await store.close();
  }
  const [saved = ''] = globSync(join(stateDirectory, 'conflicts/*/jobs.sqlite'));
  t.equal(readFileSync(saved, 'utf8'), 'damaged');
});

t.test('a rescue waits for room on the disk', { skip }, async (t) => {
  const root = testDirectory(t, { volume: {} });
  const volume = mountSmall(join(root, 'volume'), 'size=8m');
  t.teardown(() => volume[Symbol.dispose]());
  const stateDirectory = join(root, 'volume');
  const path = join(stateDirectory, 'jobs.sqlite');
  const captured = captureLog();
  const options = { stateDirectory, most: 1_000, log: captured.log, client };
  await fill(() => openJobStore(options), 200);
  tear(path);
  const { size } = statSync(path);
  const { bavail, bsize } = statfsSync(stateDirectory);
  const filler = join(stateDirectory, 'filler');
  // The second one has room for the new file, and not for the write-ahead log beside it.
  for (const free of [size / 2, size * 1.3]) {
    writeFileSync(filler, Buffer.alloc(bavail * bsize - free));
    const store = await openJobStore(options);
    t.match(store.describe(), { available: false, problem: /the disk.*full|MiB free/ });
    await store.close();
    t.strictSame(readdirSync(stateDirectory).sort(), ['filler', 'job-results', 'jobs.sqlite']);
  }
  rmSync(filler);
  const store = await openJobStore(options);
  const { saved } = await captured.logged('jobs_salvaged');
  t.ok(Number(saved) >= 150, `${saved} of 200 jobs`);
  await store.close();
});

t.test('a file that is no database is set aside', async (t) => {
  const { path, open, stateDirectory } = makeVolume(t);
  writeFileSync(path, 'not a database, but somebody wrote it');
  const store = await open();
  t.equal((await store.add(sampleJob())).created, true);
  const [saved = ''] = globSync(join(stateDirectory, 'conflicts/*/jobs.sqlite'));
  t.equal(readFileSync(saved, 'utf8'), 'not a database, but somebody wrote it');
});

t.test('a file that is damaged while the store runs is replaced', async (t) => {
  const { path, open, captured } = makeVolume(t);
  await fill(open, 60);
  const store = await open();
  writeFileSync(path, Buffer.alloc(statSync(path).size, 0x5a));
  const added = sampleJob();
  await until('the store accepts jobs again', async () =>
    store.add(added).then(
      () => true,
      () => false,
    ),
  );
  t.equal((await store.read(added.id))?.id, added.id);
  t.ok(captured.count('job_store_damaged') <= 1);
});

t.test('a file of a newer version is refused, and not touched', async (t) => {
  const { path, open, edit, captured } = makeVolume(t);
  await fill(open, 1);
  edit('PRAGMA user_version = 99');
  const before = readFileSync(path);
  const store = await open();
  t.match(store.describe(), {
    available: false,
    problem: /format version 99.*run the newer berth/,
  });
  await t.rejects(store.add(sampleJob()), { code: 'job_store_unavailable' });
  await store.close();
  t.equal(Buffer.compare(readFileSync(path), before), 0);
  t.equal(captured.count('job_store_unavailable'), 1);
});

t.test('objects that berth did not create are damage', async (t) => {
  const { open, edit, captured } = makeVolume(t);
  const [job] = await fill(open, 1);
  edit("CREATE TRIGGER evil AFTER INSERT ON jobs BEGIN UPDATE jobs SET token = 'x'; END");
  const store = await open();
  t.match(await captured.logged('job_store_damaged'), { msg: /evil/ });
  t.strictSame(await store.read(job?.id ?? ''), job);
});

t.test('a row that is no job is set aside, and the others run', async (t) => {
  const { open, edit, captured, path } = makeVolume(t);
  const [first, second] = await fill(open, 2);
  edit(`UPDATE jobs SET job = '{"id":"job_x"}' WHERE id = '${first?.id}'`);
  const store = await open();
  t.equal((await store.claim('a', 2_000))?.id, second?.id);
  t.equal(await store.read(first?.id ?? ''), undefined);
  t.match(await captured.logged('job_refused'), { job_id: first?.id });
  await store.close();
  const db = new DatabaseSync(path);
  t.match(db.prepare('SELECT id, job FROM refused').all(), [{ id: first?.id, job: /job_x/ }]);
  db.close();
});

t.test(
  'unreadable rows are logged without stored text, and a job without a request fails',
  async (t) => {
    const { open, edit, captured } = makeVolume(t);
    const jobs = await fill(open, 3);
    const [text, state, request] = jobs.map(({ id }) => id);
    edit(`UPDATE jobs SET job = 'hunter2 {' WHERE id = '${text}'`);
    edit(`UPDATE jobs SET job = json_set(job, '$.state', 'hunter2') WHERE id = '${state}'`);
    edit(`UPDATE requests SET request = '{"prompt":["hunter2"]}'
    WHERE seq = (SELECT seq FROM jobs WHERE id = '${request}')`);
    const store = await open();
    for (const id of [text, state]) t.equal(await store.read(id ?? ''), undefined);
    t.equal(await store.claim('owner', 2_000), undefined);
    const lost = { state: 'failed', error: { detail: /its prompt was lost/ } };
    t.match(await store.read(request ?? ''), lost);
    await until('all rows are refused', () => captured.count('job_refused') === jobs.length);
    t.notMatch(captured.text, /hunter2/);
    t.match(captured.text, /it is not JSON/);
    t.match(captured.text, /not valid: state/);
  },
);

t.test('no symlink is followed, and the file is private', async (t) => {
  const { path, open, stateDirectory } = makeVolume(t);
  const target = join(stateDirectory, 'target');
  writeFileSync(target, '');
  symlinkSync(target, path);
  symlinkSync(stateDirectory, join(stateDirectory, 'job-results'));
  const store = await open();
  await store.add(sampleJob());
  t.equal(statSync(target).size, 0);
  t.equal(lstatSync(path).mode & 0o777, 0o600);
  t.equal(lstatSync(`${path}-wal`).mode & 0o777, 0o600);
  t.ok(lstatSync(join(stateDirectory, 'job-results')).isDirectory());
});

t.test('a file that a tool removes or replaces is written again, without loss', async (t) => {
  const { path, open, captured } = makeVolume(t);
  const store = await open();
  const jobs = [sampleJob(), sampleJob(), sampleJob()];
  await store.add(jobs[0] as Job);
  for (const suffix of ['', '-wal']) rmSync(path + suffix);
  await store.add(jobs[1] as Job);
  rmSync(path);
  writeFileSync(path, 'mine');
  await store.add(jobs[2] as Job);
  const reopened = await open();
  for (const job of jobs) t.strictSame(await reopened.read(job.id), job);
  t.ok(captured.count('volume_repaired') >= 2);
});

t.test('a large result is kept in a file, which goes with its job', async (t) => {
  const { open, stateDirectory } = makeVolume(t);
  const results = join(stateDirectory, 'job-results');
  const large = sampleResult('ä'.repeat(600_000));
  const succeed = async (store: JobStore, job: Job): Promise<void> => {
    await store.add(job);
    await store.claim('a', 2_000);
    await store.update(job.id, (now) => become(now, 'succeeded', 3_000, { result: large }));
  };
  const [kept, removed] = [sampleJob(), sampleJob()];
  const first = await open();
  await succeed(first, kept);
  await succeed(first, removed);
  t.strictSame(readdirSync(results).sort(), [`${kept.id}.json`, `${removed.id}.json`].sort());
  t.equal(await first.remove(removed.id), true);
  t.strictSame(readdirSync(results), [`${kept.id}.json`]);
  await first.close();
  writeFileSync(join(results, 'job_orphan.json'), '{}');
  writeFileSync(join(results, `.${kept.id}-1234.tmp`), '{');
  const store = await open();
  t.strictSame(readdirSync(results), [`${kept.id}.json`], 'orphans are swept');
  t.equal((await store.read(kept.id))?.result?.result.length, 600_000);
  rmSync(join(results, `${kept.id}.json`));
  symlinkSync('/etc/passwd', join(results, `${kept.id}.json`));
  const lost = await store.read(kept.id);
  t.match(lost, { state: 'succeeded', result: null, notes: [/the result was lost/] });
  t.ok(existsSync(stateDirectory));
});
