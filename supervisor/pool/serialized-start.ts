/**
 * Starts that must come one after the other: a process that starts refreshes the login by itself.
 * Always holds: none waits longer than the bound for another.
 */
import type { Worker } from './worker.ts';

/** Milliseconds from the start of the one for which others wait. */
const bound = 10_000;

export class OneStart {
  readonly #alone: (profile: string) => boolean;
  readonly #onOver: () => void;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param alone whether no other process may start beside one of that profile just now
   * @param onOver told when those that had to wait are to be tried again
   */
  constructor(alone: (profile: string) => boolean, onOver: () => void) {
    this.#alone = alone;
    this.#onOver = onOver;
  }

  mayStart(profile: string, workers: Iterable<Worker>): boolean {
    if (!this.#alone(profile)) return true;
    const now = performance.now();
    const ages = [...workers]
      .filter(({ state, order }) => state === 'starting' && this.#alone(order.profile))
      .map(({ startedAt }) => now - startedAt);
    const youngest = Math.min(...ages);
    if (youngest >= bound) return true;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#onOver();
    }, bound - youngest);
    this.#timer.unref();
    return false;
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
