/**
 * Starts processes one after the other while the login is about to be refreshed: each of them would refresh
 * the login itself.
 * Invariant: no start waits longer than the bound for another one.
 */
import type { Worker } from './worker.ts';

/** Milliseconds after which the next process may start, although the first one is not ready. */
const bound = 10_000;

export class SerializedStart {
  readonly #alone: (profile: string) => boolean;
  readonly #onOver: () => void;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param alone whether no other process may start beside a process of that profile now
   * @param onOver called when the starts that had to wait can be tried again
   */
  constructor(alone: (profile: string) => boolean, onOver: () => void) {
    this.#alone = alone;
    this.#onOver = onOver;
  }

  mayStart(profile: string, workers: Iterable<Worker>): boolean {
    if (!this.#alone(profile)) return true;
    const now = performance.now();
    const ages = [...workers]
      .filter(({ state, spec }) => state === 'starting' && this.#alone(spec.profile))
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
