/**
 * A short pause in which no spare is started: the start would take the processor from the first steps of a new
 * turn, for which a caller waits.
 * Invariant: a pause ends by itself; further turns do not lengthen it.
 */
import type { Worker } from './worker.ts';

/** Milliseconds, after which the first request of the turn has been sent. */
const longest = 300;

export class RefillPause {
  readonly #onEnd: () => void;
  #cause: Worker | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
  }

  get paused(): boolean {
    return this.#cause !== undefined;
  }

  /** A new process gets its first turn. */
  begin(worker: Worker): void {
    if (this.#cause) return;
    this.#cause = worker;
    this.#timer = setTimeout(() => {
      this.stop();
      this.#onEnd();
    }, longest);
  }

  /** The turn of that process is over. The caller reconciles the pool next. */
  end(worker: Worker): void {
    if (worker === this.#cause) this.stop();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#cause = undefined;
  }
}
