/**
 * A pause that can be ended early.
 * Always holds: a rest that is over has left nothing behind, neither a timer nor a listener: the signals
 * that end one live as long as the program.
 */
export class Rest {
  #end: (() => void) | undefined;

  /** Ends the rest that is under way, if there is one. */
  wake(): void {
    this.#end?.();
  }

  /** Until so many milliseconds are over, it is woken, or `signal`. One at a time. */
  async take(milliseconds: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const end = (): void => resolve();
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener('abort', end, { once: true });
    this.#end = end;
    await promise;
    this.#end = undefined;
    signal.removeEventListener('abort', end);
    clearTimeout(timer);
  }
}
