/** Calls whose transaction is committed are not run again, whatever fails afterwards. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { become, type Job } from '../../../../supervisor/jobs/job.ts';
import { JobCalls } from '../../../../supervisor/jobs/sqlite/job-calls.ts';
import { type Call, successorOf } from '../../../../supervisor/jobs/sqlite/protocol.ts';
import { largestInRow } from '../../../../supervisor/jobs/sqlite/result-files.ts';
import { testDirectory } from '../../../support/directory.ts';
import { sampleJob, sampleResult } from '../../../support/stored-job.ts';

/** An open database of jobs. */
function open(t: Test) {
  const directory = testDirectory(t, {});
  const path = join(directory, 'jobs.sqlite');
  const results = join(directory, 'results');
  const calls = new JobCalls(() => {});
  let id = 0;
  /** Runs calls in one batch. */
  const run = (...batch: [Call['name'], ...unknown[]][]) =>
    calls.run(batch.map(([name, ...args]) => ({ id: id++, name, args })));
  t.match(run(['open', { path, results, most: 100 }]), [{ value: { kind: 'open' } }]);
  t.teardown(() => run(['close']));
  return { path, results, run };
}

t.test('a batch that is committed to a removed file is not run again', async (t) => {
  const { path, run } = open(t);
  const jobs = [sampleJob(), sampleJob()];
  for (const file of [path, `${path}-wal`]) rmSync(file);
  mkdirSync(successorOf(path));
  const failed = { error: { code: 'job_store_unavailable' } };
  t.match(run(...jobs.map((job): ['add', Job] => ['add', job])), [failed, failed]);
  rmSync(successorOf(path), { recursive: true });
  t.match(run(['list', { limit: 10 }]), [{ value: { jobs: { length: 2 } } }]);
  t.ok(existsSync(path), 'the file is back');
});

t.test('the file of a result that cannot be removed does not fail its call', async (t) => {
  const { results, run } = open(t);
  const job = sampleJob();
  const text = 'x'.repeat(largestInRow);
  const ended = become(become(job, 'running', 1, { owner: 'a' }), 'succeeded', 2, {
    result: sampleResult(text),
  });
  run(['add', job]);
  t.match(run(['replace', ended, 1]), [{ value: true }]);
  rmSync(results, { recursive: true });
  writeFileSync(results, 'no directory');
  t.match(run(['remove', job.id]), [{ value: true }]);
  t.match(run(['read', job.id]), [{ value: undefined }]);
});
