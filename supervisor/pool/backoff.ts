/** Slows down the starts of a profile whose workers do not start, and reports when waiting is hopeless. */
import { backoff } from '../../shared/backoff.ts';
import type { BerthError } from '../../shared/errors.ts';

/** Milliseconds. */
const pauses = { first: 250, longest: 30_000 };
/** Failures in a row after which prompts are rejected at once instead of waiting. */
const patience = 3;

/** Why the workers of a profile do not start. */
export interface LaunchFailure {
  /** The error of the last start. */
  error: BerthError;
  /** The last lines that the process wrote to standard error; they may quote secrets. */
  stderr: string;
  /** Failed starts since the last successful one. */
  attempts: number;
  /** Milliseconds since 1970: when the first of these starts failed. */
  since: number;
}

export class LaunchBackoff {
  /** Undefined after a successful start. */
  failure: LaunchFailure | undefined;
  readonly #onOver: () => void;
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(onOver: () => void) {
    this.#onOver = onOver;
  }

  /** Whether no worker may be started now. */
  get waiting(): boolean {
    return this.#timer !== undefined;
  }

  /** Whether so many starts have failed that a prompt should not wait for the next one. */
  get broken(): boolean {
    return this.failure !== undefined && this.#failures >= patience;
  }

  failed(error: BerthError, stderr: string): void {
    const { attempts, since } = this.failure ?? { attempts: 0, since: Date.now() };
    this.failure = { error, stderr, attempts: attempts + 1, since };
    this.#failures += 1;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#onOver();
      },
      backoff(this.#failures, pauses),
    );
    this.#timer.unref();
  }

  /** A worker has started. It may still end before its first prompt. */
  started(): void {
    this.failure = undefined;
  }

  /** A worker has got a prompt: the next failure counts as the first one. */
  proved(): void {
    this.#failures = 0;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
