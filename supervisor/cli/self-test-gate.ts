/**
 * Holds prompts until the CLI has passed its self-test: a CLI that fails the test may run a command in a prompt, or read
 * no instructions.
 * Invariants: the gate is decided once, by `open` or `close`, and stays so. Each wait ends with that decision, or with the
 * signal of its prompt.
 */
import type { BerthError } from '../../shared/errors.ts';
import { abortable } from '../../shared/waiting.ts';

export class SelfTestGate {
  readonly #decided = Promise.withResolvers<void>();
  #isOpen = false;
  #isClosed = false;

  constructor() {
    // A gate for which no prompt waits may close too.
    this.#decided.promise.catch(() => undefined);
  }

  /** The CLI may be used. @returns whether the gate was undecided */
  open(): boolean {
    if (this.#isOpen || this.#isClosed) return false;
    this.#isOpen = true;
    this.#decided.resolve();
    return true;
  }

  /** The test has failed, or the server stops before its end. @param reason the error of all prompts that wait or come */
  close(reason: BerthError): void {
    this.#isClosed = !this.#isOpen;
    this.#decided.reject(reason);
  }

  /** @throws the reason of `close`; the signal's reason */
  async passed(signal: AbortSignal): Promise<void> {
    if (!this.#isOpen) await abortable(this.#decided.promise, signal);
  }
}
