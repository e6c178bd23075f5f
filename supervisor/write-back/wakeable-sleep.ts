/** A pause that can be ended early. */
import { within } from '../../shared/waiting.ts';

export class WakeableSleep {
  #wake: (() => void) | undefined;

  /** Ends the running pause, if there is one. */
  wake(): void {
    this.#wake?.();
  }

  /** Resolves after so many milliseconds, at `wake`, or when the signal aborts. One call at a time. */
  async take(milliseconds: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    await within(promise, milliseconds, signal);
    this.#wake = undefined;
  }
}
