/** A large result whose file cannot be read just now is not lost: a read fails, and a callback waits. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';
import { become, type Job } from '../../../../supervisor/jobs/job.ts';
import { JobDatabase } from '../../../../supervisor/jobs/sqlite/job-database.ts';
import { largestInRow } from '../../../../supervisor/jobs/sqlite/result-files.ts';
import { testDirectory } from '../../../support/directory.ts';
import { cannotMount } from '../../../support/small-volume.ts';
import { sampleJob, sampleResult, waitingCallback } from '../../../support/stored-job.ts';
import { mountUnread } from '../../../support/unread-disk.ts';
import { root, withoutDescriptors } from '../../../support/without-descriptors.ts';

/** A database with jobs that have succeeded and whose callbacks are due, with results of that many bytes. */
function fill(t: Test, ...sizes: number[]) {
  const directory = testDirectory(t);
  const results = join(directory, 'results');
  const options = { path: join(directory, 'jobs.sqlite'), results, most: 100 };
  const database = new JobDatabase(options);
  const jobs = sizes.map((size) => {
    const job = sampleJob({ callback: waitingCallback });
    database.add(job);
    const running = become(job, 'running', 1, { owner: 'a' });
    const result = sampleResult('x'.repeat(size));
    database.replace(become(running, 'succeeded', 2, { result }), 1);
    return job;
  });
  return { options, database, jobs: jobs as [Job, ...Job[]] };
}

t.test('without descriptors a callback waits, and then has the whole result', async (t) => {
  const { options, database, jobs } = fill(t, largestInRow);
  database.close();
  const source = pathToFileURL(join(root, 'supervisor/jobs/sqlite/job-database.ts')).href;
  const script = `
    import { JobDatabase } from ${JSON.stringify(source)};
    const [options, id] = process.argv.slice(1);
    const database = new JobDatabase(JSON.parse(options));
    const attempt = (work) => {
      try {
        const job = database.transaction(true, work);
        return job ? [job.result.result.length, job.notes] : ['none'];
      } catch ({ code, message }) {
        return [code, message];
      }
    };
    const claim = (now) => attempt(() => database.claimCallback(now, 1_000));
    const read = () => attempt(() => database.read(id).job);
    database.list({ limit: 1 });
    const free = exhaust();
    const refused = [claim(10), read()];
    free();
    console.log(JSON.stringify([...refused, claim(1_010), read()]));
  `;
  const failure = ['volume_unwritable', /EMFILE/];
  const whole = [largestInRow, []];
  t.match(await withoutDescriptors(script, JSON.stringify(options), jobs[0].id), [
    ...[['none'], failure],
    ...[whole, whole],
  ]);
});

const skip = cannotMount;

t.test('a result that the disk cannot read holds up no other callback', { skip }, async (t) => {
  const { options, database, jobs } = fill(t, largestInRow, 10);
  t.teardown(() => database.close());
  const [unread, other] = jobs;
  const path = join(options.results, `${unread.id}.json`);
  const disk = mountUnread(path);
  const claim = (now: number) => database.transaction(true, () => database.claimCallback(now, 100));
  const failure = { code: 'volume_unwritable', message: /EIO/ };
  try {
    t.throws(() => database.read(unread.id), failure);
    t.equal(claim(10)?.id, other?.id);
    t.equal(claim(50), undefined, 'the callback waits for a while');
    database.remove(other?.id ?? '');
    t.equal(claim(110), undefined);
    t.equal(claim(111), undefined, 'it keeps its lease, and does not come back at once');
    t.match(database.readHead(unread.id), {
      notes: [],
      callback: { state: 'pending', nextAt: 210, lastError: /EIO/ },
    });
  } finally {
    disk[Symbol.dispose]();
  }
  rmSync(path);
  t.match(database.read(unread.id)?.job, { result: null, notes: [/lost: ENOENT/] });
  t.equal(database.remove(unread.id), true);
});
