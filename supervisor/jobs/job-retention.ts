/**
 * Removes ended jobs: those that ended long ago, and the oldest above a bound of count or bytes.
 * Invariants: only the store decides which job has ended. After the clock was set, nothing is removed because of its age
 * for a day. A round that fails is logged, and the next one tries again.
 */
import { ClockTrust } from '../../shared/clock-trust.ts';
import type { Log } from '../../shared/log.ts';
import { SerialQueue } from '../../shared/serial-queue.ts';
import { formatDuration } from '../../shared/units.ts';
import type { EndState } from './job.ts';
import type { JobStore } from './job-store.ts';

export interface JobRetentionOptions {
  store: Pick<JobStore, 'prune'>;
  /** Milliseconds for which an ended job is kept; 0 keeps jobs for ever. */
  retention: number;
  /** The most ended jobs. */
  mostJobs: number;
  /** The most bytes of ended jobs, with prompts, results and events. */
  mostBytes: number;
  log: Log;
  /** Milliseconds since 1970. */
  now?: () => number;
  /** Milliseconds of a monotonic clock. */
  elapsed?: () => number;
  /** Called and awaited after the jobs of each round were removed. */
  afterRound?: () => Promise<void>;
  /** Called with the removed jobs of a round. */
  onRemoved?: (jobs: readonly { id: string; state: EndState }[]) => void;
}

/** Milliseconds between two rounds. */
const interval = 15 * 60_000;

export class JobRetention {
  readonly #options: JobRetentionOptions;
  readonly #clock: ClockTrust;
  readonly #rounds = new SerialQueue();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: JobRetentionOptions) {
    this.#options = options;
    const { now, elapsed, log } = options;
    const onStep = (step: number): void => {
      const text = `the clock was changed by ${formatDuration(step)}: for a day no job is removed because of its age`;
      log.warn('retention_failed', text, { step_ms: step });
    };
    this.#clock = new ClockTrust({ now, elapsed, onStep });
  }

  /** Runs a round now, in the background, and one every quarter of an hour. */
  start(): void {
    const next = (): void => void this.#rounds.add(() => this.#attempt());
    next();
    this.#timer = setInterval(next, interval).unref();
  }

  /** Returns when the running round has ended. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#rounds.idle();
  }

  /** @returns the number of removed jobs */
  async round(): Promise<number> {
    const { store, retention, mostJobs, mostBytes, log, now = Date.now, onRemoved } = this.#options;
    const started = performance.now();
    const isByAge = this.#clock.check() && retention > 0;
    const endedBefore = isByAge ? now() - retention : 0;
    const removed = await store.prune({ endedBefore, mostJobs, mostBytes });
    if (removed.length === 0) return 0;
    onRemoved?.(removed);
    log.info('jobs_removed', `removed ${removed.length} ended jobs`, {
      count: removed.length,
      duration_ms: Math.round(performance.now() - started),
    });
    return removed.length;
  }

  async #attempt(): Promise<void> {
    try {
      await this.round();
      await this.#options.afterRound?.();
    } catch (error) {
      this.#options.log.warn('retention_failed', 'cannot remove old jobs', { error });
    }
  }
}
