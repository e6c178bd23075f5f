/**
 * The time limit of a prompt. The waits of a job for a worker and for an approval do not count.
 * Invariant: `onOver` is called once at most, and never after `stop`.
 */
export class PromptDeadline {
  readonly #onOver: () => void;
  #left: number;
  #since = performance.now();
  #timer: NodeJS.Timeout | undefined;

  /** @param milliseconds until `onOver` is called */
  constructor(milliseconds: number, onOver: () => void) {
    this.#left = milliseconds;
    this.#onOver = onOver;
    this.resume();
  }

  /** Milliseconds that are left. */
  get left(): number {
    return this.#timer ? this.#left - (performance.now() - this.#since) : this.#left;
  }

  pause(): void {
    if (!this.#timer) return;
    this.#left = Math.max(0, this.left);
    this.stop();
  }

  resume(): void {
    if (this.#timer) return;
    this.#since = performance.now();
    this.#timer = setTimeout(this.#onOver, this.#left);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
