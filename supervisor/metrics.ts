/** The metrics of the supervisor. Names and units follow Prometheus' conventions. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { version } from '../shared/version.ts';

export interface MetricSources {
  /** Workers by state. */
  workers: () => Record<string, number>;
  queued: () => number;
  memory: () => { limit: number | undefined; workingSet: number | undefined; workers: number };
  /** Seconds since 1970 at which the access token ends; undefined if unknown. */
  credentialsExpiry: () => number | undefined;
  disks: () => readonly { path: string; total: number; free: number }[];
  sessions: () => number;
}

export interface Metrics {
  registry: Registry;
  /** Counts a prompt by its outcome, `ok` or an error's code. */
  prompt: (outcome: string, seconds: number) => void;
  answer: (answer: { costUsd: number; inputTokens: number; outputTokens: number }) => void;
  recycled: (reason: string) => void;
  /** Counts a session that nobody asked to remove. */
  sessionRemoved: (reason: string) => void;
}

const buckets = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800];

export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const prompts = new Counter({
    name: 'berth_prompts_total',
    help: 'Prompts by outcome: ok, or the code of the error',
    labelNames: ['outcome'],
    registers,
  });
  const duration = new Histogram({
    name: 'berth_prompt_duration_seconds',
    help: 'From acceptance to the answer',
    labelNames: ['outcome'],
    buckets,
    registers,
  });
  const cost = new Counter({
    name: 'berth_cost_usd_total',
    help: 'US dollars at list prices, as the CLI reports them',
    registers,
  });
  const tokens = new Counter({
    name: 'berth_tokens_total',
    help: 'Tokens by direction, without those read from the cache',
    labelNames: ['direction'],
    registers,
  });
  const recycles = new Counter({
    name: 'berth_worker_recycles_total',
    help: 'Workers ended, by reason',
    labelNames: ['reason'],
    registers,
  });
  const removals = new Counter({
    name: 'berth_sessions_removed_total',
    help: 'Sessions removed for their age or for the disk budget',
    labelNames: ['reason'],
    registers,
  });
  new Gauge({
    name: 'berth_build_info',
    help: 'Always 1; the version is in the label',
    labelNames: ['version'],
    registers,
  }).set({ version }, 1);
  registerGauges(sources, registers);
  return {
    registry,
    prompt: (outcome, seconds) => {
      prompts.inc({ outcome });
      duration.observe({ outcome }, seconds);
    },
    answer: ({ costUsd, inputTokens, outputTokens }) => {
      cost.inc(costUsd);
      tokens.inc({ direction: 'input' }, inputTokens);
      tokens.inc({ direction: 'output' }, outputTokens);
    },
    recycled: (reason) => recycles.inc({ reason }),
    sessionRemoved: (reason) => removals.inc({ reason }),
  };
}

/** Gauges are read when they are scraped. */
function registerGauges(sources: MetricSources, registers: Registry[]): void {
  new Gauge({
    name: 'berth_workers',
    help: 'CLI processes by state',
    labelNames: ['state'],
    registers,
    collect() {
      for (const [state, count] of Object.entries(sources.workers())) this.set({ state }, count);
    },
  });
  const gauge = (name: string, help: string, value: () => number | undefined): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value() ?? Number.NaN);
      },
    });
  };
  const disks = (name: string, help: string, value: 'total' | 'free'): void => {
    new Gauge({
      name,
      help,
      labelNames: ['path'],
      registers,
      collect() {
        for (const disk of sources.disks()) this.set({ path: disk.path }, disk[value]);
      },
    });
  };
  disks('berth_disk_size_bytes', 'Of the file system at that path', 'total');
  disks('berth_disk_free_bytes', 'What may still be written at that path', 'free');
  gauge('berth_sessions', 'Sessions that can be continued', sources.sessions);
  gauge('berth_queue_length', 'Prompts that wait for a worker', sources.queued);
  gauge('berth_memory_limit_bytes', "The container's limit", () => sources.memory().limit);
  gauge(
    'berth_memory_working_set_bytes',
    "The container's working set",
    () => sources.memory().workingSet,
  );
  gauge(
    'berth_workers_memory_bytes',
    'Resident memory of all process trees of the workers',
    () => sources.memory().workers,
  );
  gauge(
    'berth_credentials_expiry_timestamp_seconds',
    'When the access token ends; the CLI refreshes it by itself',
    sources.credentialsExpiry,
  );
}
