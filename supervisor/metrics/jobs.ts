/**
 * The metrics of jobs.
 * Invariants: the gauges of one scrape come from one reading of the store, which has a deadline: a store that hangs
 * does not make a scrape hang. With a store that replicas share, each replica reports the whole store: take `max`.
 */
import { Counter, Gauge, type Registry } from 'prom-client';
import { within } from '../../shared/waiting.ts';
import { endStates, jobTransitions } from '../jobs/job.ts';
import type { JobCounts, JobStore } from '../jobs/job-store.ts';

export type JobSource = Pick<JobStore, 'counts' | 'describe'>;

/** How a run of a job ended: `parked` and `requeued` (drain, restart) count as no attempt. */
const runOutcomes = ['succeeded', 'failed', 'parked', 'requeued', 'cancelled'] as const;
export type RunOutcome = (typeof runOutcomes)[number];

/** How a request of a callback ended: `retried` if it will be sent again. */
const callbackOutcomes = ['delivered', 'retried', 'failed'] as const;
export type CallbackOutcome = (typeof callbackOutcomes)[number];

/** Milliseconds for one reading of the store. */
const patience = 2_000;
/** Milliseconds for which a reading serves all gauges of a scrape. */
const fresh = 500;

/** @param source undefined as long as there is no store */
export function registerJobs(source: () => JobSource | undefined, registry: Registry) {
  const registers = [registry];
  const read = sharedReading(source);
  const gauge = <L extends string>(
    name: string,
    help: string,
    labelNames: L[],
    values: (counts: JobCounts) => Iterable<readonly [value: number, labels: Record<L, string>]>,
  ): void => {
    new Gauge({
      name,
      help,
      labelNames,
      registers,
      async collect() {
        const counts = await read();
        // Without a reading there is no value: an old one would look like a new one.
        this.reset();
        if (!counts && labelNames.length === 0) this.set(Number.NaN);
        for (const [value, labels] of counts ? values(counts) : []) this.set(labels, value);
      },
    });
  };
  const none = {} as Record<never, string>;
  gauge('berth_jobs', 'Jobs in the store, by state', ['state'], ({ byState }) =>
    Object.keys(jobTransitions).map((state) => [byState[state as keyof typeof byState], { state }]),
  );
  gauge('berth_jobs_parked', 'Parked jobs, by the code of the error', ['reason'], ({ parked }) =>
    Object.entries(parked).map(([reason, count]) => [count, { reason }]),
  );
  gauge(
    'berth_jobs_oldest_queued_timestamp_seconds',
    'Since when the queued job waits that waits longest; NaN without one',
    [],
    ({ oldestQueued }) => [[seconds(oldestQueued), none]],
  );
  gauge(
    'berth_job_callbacks_pending',
    'Callbacks of ended jobs that are to be delivered',
    [],
    ({ callbacks }) => [[callbacks.pending, none]],
  );
  gauge(
    'berth_job_callbacks_oldest_timestamp_seconds',
    'Since when the callback waits that waits longest; NaN without one',
    [],
    ({ callbacks }) => [[seconds(callbacks.oldest), none]],
  );
  new Gauge({
    name: 'berth_job_store_available',
    help: 'Whether the store of jobs can be read and written; at 0 jobs are answered job_store_unavailable',
    registers,
    async collect() {
      const counts = await read();
      // A full or read-only store can still be counted.
      this.set(counts && source()?.describe().available ? 1 : 0);
    },
  });
  const counter = (name: string, help: string, label: string, values: readonly string[]) => {
    const made = new Counter({ name, help, labelNames: [label], registers });
    for (const value of values) made.inc({ [label]: value }, 0);
    return made;
  };
  const accepted = counter('berth_jobs_accepted_total', 'Accepted jobs, by priority', 'priority', [
    'normal',
    'background',
  ]);
  const ended = counter('berth_jobs_ended_total', 'Jobs that ended, by state', 'state', endStates);
  const runs = counter(
    'berth_job_runs_total',
    'Runs of jobs, by outcome; parked and requeued (drain, restart) count as no attempt',
    'outcome',
    runOutcomes,
  );
  const callbacks = counter(
    'berth_job_callbacks_total',
    'Requests of callbacks, by outcome: delivered, to be retried, or given up (failed)',
    'outcome',
    callbackOutcomes,
  );
  return {
    jobAccepted: (priority: 'normal' | 'background') => accepted.inc({ priority }),
    jobEnded: (state: (typeof endStates)[number]) => ended.inc({ state }),
    jobRun: (outcome: RunOutcome) => runs.inc({ outcome }),
    jobCallback: (outcome: CallbackOutcome) => callbacks.inc({ outcome }),
  };
}

export type JobMeters = ReturnType<typeof registerJobs>;

/** Reads the counts of the store once for all gauges of a scrape; undefined without an answer in time. */
function sharedReading(source: () => JobSource | undefined): () => Promise<JobCounts | undefined> {
  let reading: Promise<JobCounts | undefined> | undefined;
  let begun = -Infinity;
  return () => {
    const now = performance.now();
    if (!reading || now - begun > fresh) {
      begun = now;
      const store = source();
      reading = store && within(store.counts(Date.now()), patience).catch(() => undefined);
    }
    return reading ?? Promise.resolve(undefined);
  };
}

/** Seconds since 1970. */
function seconds(milliseconds: number | null): number {
  return milliseconds === null ? Number.NaN : milliseconds / 1_000;
}
