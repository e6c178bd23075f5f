/** Passes on that a limit, a pause or a fault has ended, for which jobs may be parked. */
export class LimitEnds {
  #listener: ((reasons: readonly string[], spread: number) => void) | undefined;

  /** There is one listener at most. @returns ends it */
  onEnd(listener: (reasons: readonly string[], spread: number) => void): () => void {
    this.#listener = listener;
    return () => {
      if (this.#listener === listener) this.#listener = undefined;
    };
  }

  /**
   * @param reasons error codes with which jobs are parked
   * @param spread milliseconds over which these jobs become due
   */
  report(reasons: readonly string[], spread = 0): void {
    this.#listener?.(reasons, spread);
  }
}
