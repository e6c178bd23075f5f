/** The metrics of memory, read at each scrape. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { MemoryReport } from '../memory/guard.ts';
import { causes } from '../memory/policy.ts';

export function registerMemory(report: () => MemoryReport, registers: Registry[]): void {
  const gauge = (name: string, help: string, value: (report: MemoryReport) => unknown): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const read = value(report());
        this.set(typeof read === 'number' ? read : Number.NaN);
      },
    });
  };
  const container = ({ reading }: MemoryReport) => reading.container;
  gauge('berth_memory_limit_bytes', "The container's limit", (now) => container(now)?.limit);
  gauge(
    'berth_memory_working_set_bytes',
    "The container's working set",
    (now) => container(now)?.workingSet,
  );
  gauge(
    'berth_memory_growth_bytes_per_second',
    "How fast the container's working set grows",
    (now) => container(now)?.growth,
  );
  gauge('berth_memory_soft_bytes', 'BERTH_MEMORY_SOFT', ({ bounds }) => bounds.soft);
  gauge('berth_memory_hard_bytes', 'BERTH_MEMORY_HARD', ({ bounds }) => bounds.hard);
  gauge(
    'berth_memory_pressure',
    '0 none, 1 soft, 2 hard',
    ({ level }) => ({ none: 0, soft: 1, hard: 2 })[level],
  );
  gauge(
    'berth_memory_stalled_ratio',
    'Share of the last 10 s in which some process waited for memory (cgroup v2)',
    (now) => (container(now)?.stalled?.some ?? Number.NaN) / 100,
  );
  gauge(
    'berth_tasks',
    'Processes and threads of the container; NaN without a pids limit',
    (now) => container(now)?.tasks?.current,
  );
  gauge('berth_tasks_limit', "The container's pids limit", (now) => container(now)?.tasks?.limit);
  gauge('berth_workers_memory_bytes', 'Memory of all process trees of the workers', (now) =>
    now.reading.workers.reduce((sum, { bytes }) => sum + bytes, 0),
  );
  gauge('berth_worker_memory_bytes_max', 'Memory of the largest process tree of a worker', (now) =>
    now.reading.workers.reduce((most, { bytes }) => Math.max(most, bytes), 0),
  );
  gauge(
    'berth_worker_memory_soft_bytes',
    'BERTH_WORKER_MEMORY_SOFT: above it a worker is recycled after its turn',
    ({ bounds }) => bounds.workerSoft,
  );
  gauge(
    'berth_worker_memory_hard_bytes',
    'BERTH_WORKER_MEMORY_HARD: above it a worker is ended immediately',
    ({ bounds }) => bounds.workerHard,
  );
  const slots = new Slots();
  new Gauge({
    name: 'berth_worker_memory_bytes',
    help: 'Memory of the process tree of each worker; a slot is reused after its worker has ended',
    labelNames: ['slot'],
    registers,
    collect() {
      this.reset();
      const { workers } = report().reading;
      slots.give(workers.map(({ name }) => name));
      for (const { name, bytes } of workers) this.set({ slot: slots.of(name) }, bytes);
    },
  });
  new Counter({
    name: 'berth_memory_oom_kills_total',
    help: 'Processes of the container that the kernel killed',
    registers,
    collect() {
      this.reset();
      this.inc(container(report())?.oomKills ?? 0);
    },
  });
  new Counter({
    name: 'berth_memory_decisions_total',
    help: 'Workers recycled because of memory, by cause',
    labelNames: ['cause'],
    registers,
    collect() {
      this.reset();
      const { decisions } = report();
      for (const cause of causes) this.inc({ cause }, decisions.get(cause) ?? 0);
    },
  });
}

/**
 * Small numbers for worker names that are never reused, so that there are only as many series as
 * concurrent workers.
 */
class Slots {
  readonly #numbers = new Map<string, number>();

  give(names: readonly string[]): void {
    for (const name of this.#numbers.keys()) {
      if (!names.includes(name)) this.#numbers.delete(name);
    }
    for (const name of names) {
      if (this.#numbers.has(name)) continue;
      const taken = new Set(this.#numbers.values());
      let free = 1;
      while (taken.has(free)) free += 1;
      this.#numbers.set(name, free);
    }
  }

  of(name: string): string {
    return String(this.#numbers.get(name));
  }
}
