import t from 'tap';
import { JobRetention, type JobRetentionOptions } from '../../../supervisor/jobs/job-retention.ts';
import { captureLog } from '../../support/captured-log.ts';
import { memoryJobStore } from '../../support/memory-job-store.ts';
import { sampleJob } from '../../support/stored-job.ts';

const day = 24 * 3_600_000;
const today = 1_800_000_000_000;

/** A monotonic clock: the parts under test have begun an hour ago. */
function anHourLater(): () => number {
  let isBegun = false;
  return () => {
    const elapsed = isBegun ? day : 0;
    isBegun = true;
    return elapsed;
  };
}

async function makeJobs(options: Partial<JobRetentionOptions> = {}) {
  const store = memoryJobStore();
  for (const age of [20, 10, 1]) {
    const endedAt = today - age * day;
    await store.add(sampleJob({ state: 'cancelled', endedAt }));
  }
  await store.add(sampleJob({ createdAt: today - 100 * day }));
  const captured = captureLog();
  let removed = 0;
  const retention = new JobRetention({
    store,
    retention: 14 * day,
    mostJobs: 100,
    mostBytes: 1e9,
    log: captured.log,
    now: () => today,
    elapsed: anHourLater(),
    onRemoved: (jobs) => {
      removed += jobs.length;
    },
    ...options,
  });
  return { store, retention, captured, removed: () => removed };
}

t.test('ended jobs are removed by their age, and waiting jobs never', async (t) => {
  const { store, retention, captured, removed } = await makeJobs();
  t.equal(await retention.round(), 1);
  t.equal(removed(), 1);
  t.match(captured.lines, [{ event: 'jobs_removed', count: 1 }]);
  t.equal((await store.list({ limit: 10 })).jobs.length, 3);
  t.equal(await retention.round(), 0);
});

t.test('0 keeps ended jobs for ever, within the bound of their number', async (t) => {
  const { retention } = await makeJobs({ retention: 0 });
  t.equal(await retention.round(), 0);
  const bounded = await makeJobs({ retention: 0, mostJobs: 1 });
  t.equal(await bounded.retention.round(), 2);
});

t.test('after the clock was set, no job is removed because of its age', async (t) => {
  let [now, elapsed] = [today - 15 * day, 0];
  const { retention, captured } = await makeJobs({ now: () => now, elapsed: () => elapsed });
  await retention.round();
  now += 365 * day;
  t.equal(await retention.round(), 0);
  t.equal(captured.count('retention_failed'), 1);
  elapsed += day;
  now += day;
  t.equal(await retention.round(), 3);
});

t.test('a round that fails is logged, and stop waits for it', async (t) => {
  const { store, retention, captured } = await makeJobs();
  store.problem = 'the disk is full';
  retention.start();
  await retention.stop();
  t.match(captured.lines, [
    { event: 'retention_failed', error: { code: 'job_store_unavailable' } },
  ]);
});
