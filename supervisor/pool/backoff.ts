/** How long the pool waits after a worker could not be started, and when it gives up on who waits. */
import type { BerthError } from '../../shared/errors.ts';

const shortest = 250;
const longest = 30_000;
/** Failures in a row after which prompts are answered at once instead of waiting. */
const patience = 3;

/** Why the workers of a profile do not start. */
export interface LaunchFailure {
  /** Of the last start. */
  error: BerthError;
  /** The last lines that its process wrote to standard error; they may quote secrets. */
  stderr: string;
  /** Starts that failed since one succeeded. */
  attempts: number;
  /** Milliseconds since 1970: when the first of them failed. */
  since: number;
}

export class LaunchBackoff {
  /** Undefined once a start succeeded. */
  failure: LaunchFailure | undefined;
  readonly #onOver: () => void;
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(onOver: () => void) {
    this.#onOver = onOver;
  }

  /** True while no worker may be started. */
  get waiting(): boolean {
    return this.#timer !== undefined;
  }

  /** True if starting has failed so often that waiting for it makes no sense. */
  get broken(): boolean {
    return this.failure !== undefined && this.#failures >= patience;
  }

  failed(error: BerthError, stderr: string): void {
    const { attempts, since } = this.failure ?? { attempts: 0, since: Date.now() };
    this.failure = { error, stderr, attempts: attempts + 1, since };
    this.#failures += 1;
    clearTimeout(this.#timer);
    const pause = Math.min(longest, shortest * 2 ** (this.#failures - 1));
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#onOver();
    }, pause);
    this.#timer.unref();
  }

  /** A worker has started; it may still end before it has served anybody. */
  started(): void {
    this.failure = undefined;
  }

  /** A worker has lived until a prompt came: the next failure is a first one again. */
  proved(): void {
    this.#failures = 0;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
