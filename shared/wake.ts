/**
 * A wait that another part can end early, for a loop that checks for work: check, then wait.
 * Invariants: a wake is remembered until a wait has ended, so a wake between the check and the wait is not lost. All
 * wakes until then count as one. A wait that has ended leaves no timer and no listener behind.
 */
import { within } from './waiting.ts';

export class Wake {
  #woken = Promise.withResolvers<void>();

  /** Ends the running wait; without one, the next wait ends at once. */
  wake(): void {
    this.#woken.resolve();
  }

  /** Forgets earlier wakes. Call it before a check that covers all of them. */
  clear(): void {
    this.#woken = Promise.withResolvers();
  }

  /**
   * Resolves at a wake, after so many milliseconds, or when the signal aborts; never rejects. One call at a time, and
   * none beside `clear`.
   */
  async wait(milliseconds: number, signal?: AbortSignal): Promise<void> {
    await within(this.#woken.promise, milliseconds, signal);
    this.clear();
  }
}
