/**
 * Makes parked jobs due when what they wait for has ended, such as a limit or a pause. Jobs that were parked before the
 * report of the end become due with the report. A job that was running at the report, and is parked after it for the
 * same reason, becomes due when it is parked.
 * Invariants: an error of the store only delays jobs. A job whose run began after the report is not made due by it, so jobs
 * that meet a limit again and again do not wake each other.
 */
import type { Job } from './job.ts';
import type { JobStore } from './job-store.ts';

export interface ParkingEndsOptions {
  store: Pick<JobStore, 'unpark' | 'update'>;
  /** Milliseconds since 1970. */
  now: () => number;
  /** Called when a job has become due. */
  onDue: () => void;
}

/** Parked jobs that could not be made due. */
interface Unpark {
  reasons: readonly string[];
  spread: number;
  onDone: (() => void) | undefined;
}

export class ParkingEnds {
  readonly #options: ParkingEndsOptions;
  /** What has ended while the store could not be used, by the list of reasons. */
  readonly #toUnpark = new Map<string, Unpark>();
  /** The jobs parked too late that could not be made due: the reason by the id. */
  readonly #late = new Map<string, string>();
  /** When the end of each reason was last reported, by performance.now(). */
  readonly #reported = new Map<string, number>();

  constructor(options: ParkingEndsOptions) {
    this.#options = options;
  }

  /**
   * Makes parked jobs due that wait for one of these reasons; if the store cannot be used, with a later `retry`.
   * @param spread milliseconds over which they become due
   * @param onDone called when they are due
   */
  async report(reasons: readonly string[], spread: number, onDone?: () => void): Promise<void> {
    for (const reason of reasons) this.#reported.set(reason, performance.now());
    await this.#unpark({ reasons, spread, onDone });
  }

  /**
   * Call it when a run has parked its job.
   * @param began when the run began, by performance.now()
   */
  async parkedAfterRun({ id, parked }: Job, began: number): Promise<void> {
    // Room that the end of this run itself has made is no reason to fill the disk again.
    if (!parked || parked.reason === 'disk_full') return;
    const reported = this.#reported.get(parked.reason);
    if (reported !== undefined && reported >= began) await this.#makeDue(id, parked.reason);
  }

  /** Does again what has failed. */
  async retry(): Promise<void> {
    for (const unpark of [...this.#toUnpark.values()]) await this.#unpark(unpark);
    for (const [id, reason] of [...this.#late]) await this.#makeDue(id, reason);
  }

  async #unpark({ reasons, spread, onDone }: Unpark): Promise<void> {
    const { store, now, onDue } = this.#options;
    const name = reasons.join();
    const done = onDone ?? this.#toUnpark.get(name)?.onDone;
    this.#toUnpark.delete(name);
    try {
      if ((await store.unpark(reasons, now(), spread)) > 0) onDue();
      done?.();
    } catch {
      // Another report of the same reasons may have failed meanwhile.
      const earlier = this.#toUnpark.get(name);
      this.#toUnpark.set(name, { reasons, spread, onDone: done ?? earlier?.onDone });
    }
  }

  /** Makes this job due if it still waits for this reason. */
  async #makeDue(id: string, reason: string): Promise<void> {
    const { store, now, onDue } = this.#options;
    this.#late.delete(id);
    try {
      await store.update(id, (job) =>
        job.state === 'parked' && job.parked?.reason === reason
          ? { ...job, dueAt: now() }
          : undefined,
      );
      onDue();
    } catch {
      this.#late.set(id, reason);
    }
  }
}
