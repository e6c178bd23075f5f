import { Registry } from 'prom-client';
import t from 'tap';
import { become } from '../../../supervisor/jobs/job.ts';
import { registerJobs } from '../../../supervisor/metrics/jobs.ts';
import { jobOf } from '../../support/job.ts';
import { memoryJobStore } from '../../support/memory-job-store.ts';

async function samples(registry: Registry): Promise<string[]> {
  const text = await registry.metrics();
  return text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
}

t.test('the gauges show the store: states, reasons, the oldest, callbacks', async (t) => {
  const store = memoryJobStore();
  const registry = new Registry();
  registerJobs(() => store, registry);
  const callback = {
    ...{ url: 'https://n8n.example/', state: 'waiting' as const, attempts: 0 },
    ...{ lastStatus: null, lastError: null, deliveredAt: null, nextAt: null },
  };
  await store.add(jobOf({ dueAt: 5_000 }));
  await store.add(jobOf({ state: 'parked', parked: { reason: 'usage_limit', until: null } }));
  const ended = jobOf({ callback });
  await store.add(ended);
  await store.update(ended.id, (job) => become(job, 'cancelled', 7_000));
  const lines = await samples(registry);
  for (const line of [
    'berth_jobs{state="queued"} 1',
    'berth_jobs{state="running"} 0',
    'berth_jobs{state="cancelled"} 1',
    'berth_jobs_parked{reason="usage_limit"} 1',
    'berth_jobs_oldest_queued_timestamp_seconds 5',
    'berth_job_callbacks_pending 1',
    'berth_job_callbacks_oldest_timestamp_seconds 7',
    'berth_job_store_available 1',
    'berth_jobs_ended_total{state="failed"} 0',
  ]) {
    t.ok(lines.includes(line), line);
  }
});

t.test('a store that fails or hangs is reported, and no values are made up', async (t) => {
  const store = memoryJobStore();
  store.problem = 'cannot use the store of jobs: a test; wait';
  const describe = () => ({ kind: 'redis' as const, available: true, problem: null });
  const hanging = { counts: () => new Promise<never>(() => {}), describe };
  for (const source of [store, hanging]) {
    const registry = new Registry();
    registerJobs(() => source, registry);
    const lines = await samples(registry);
    t.ok(lines.includes('berth_job_store_available 0'));
    t.ok(lines.includes('berth_job_callbacks_pending Nan'));
    t.notOk(lines.some((line) => line.startsWith('berth_jobs{')));
  }
});

t.test('a store that can be read and not written is not available', async (t) => {
  const store = memoryJobStore();
  const describe = () => ({ kind: 'redis' as const, available: false, problem: 'out of memory' });
  const registry = new Registry();
  registerJobs(() => ({ counts: store.counts, describe }), registry);
  const lines = await samples(registry);
  t.ok(lines.includes('berth_job_store_available 0'));
  t.ok(lines.includes('berth_jobs{state="queued"} 0'));
});

t.test('events of jobs are counted by their outcome', async (t) => {
  const registry = new Registry();
  const meters = registerJobs(() => undefined, registry);
  meters.jobAccepted('background');
  meters.jobEnded('failed');
  meters.jobRun('parked');
  meters.jobCallback('retried');
  const lines = await samples(registry);
  for (const line of [
    'berth_jobs_accepted_total{priority="background"} 1',
    'berth_jobs_ended_total{state="failed"} 1',
    'berth_job_runs_total{outcome="parked"} 1',
    'berth_job_callbacks_total{outcome="retried"} 1',
    'berth_job_store_available 0',
  ]) {
    t.ok(lines.includes(line), line);
  }
});
