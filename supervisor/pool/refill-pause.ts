/**
 * A moment without refilling the pool. The CLI's first steps in a turn are what the caller waits for,
 * and they want the processor that the start of the next warm process would take.
 * Always holds: a pause ends by itself; further turns do not lengthen it.
 */
import type { Worker } from './worker.ts';

/** Milliseconds: by then the turn's first request is on its way. */
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

  /** A fresh process is about to be given its first turn. */
  begin(worker: Worker): void {
    if (this.#cause) return;
    this.#cause = worker;
    this.#timer = setTimeout(() => {
      this.stop();
      this.#onEnd();
    }, longest);
  }

  /** The turn of that process is over. Whoever calls this looks at the pool next. */
  end(worker: Worker): void {
    if (worker === this.#cause) this.stop();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#cause = undefined;
  }
}
