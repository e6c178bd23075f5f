/**
 * Gives each piece of long synchronous work a turn of the event loop for itself: the next piece starts
 * only after probes, streams and other requests had their turn.
 */
export class OwnTurn {
  readonly #waiting: (() => void)[] = [];

  /** Resolves in the first turn in which no earlier caller works, in the order of the calls. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      if (this.#waiting.length === 1) setImmediate(() => this.#next());
    });
  }

  #next(): void {
    const [resolve] = this.#waiting;
    resolve?.();
    // Removed one turn later, so that a caller of this turn waits for the next one.
    setImmediate(() => {
      this.#waiting.shift();
      if (this.#waiting.length > 0) this.#next();
    });
  }
}
