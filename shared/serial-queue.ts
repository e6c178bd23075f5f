/**
 * Runs asynchronous work one piece at a time, in the order in which the pieces were added.
 * Invariant: a piece that fails rejects its own promise only; the next piece still runs.
 */
export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs the work after everything that was added before. @returns what the work returns */
  add<T>(work: () => T | Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }

  /** Resolves when everything that has been added so far has ended; never rejects. */
  async idle(): Promise<void> {
    await this.#last;
  }
}
