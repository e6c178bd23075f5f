/**
 * Detects that the clock was set. With a wrong clock everything could seem a year old, so nothing must be removed because
 * of its age.
 * Invariant: the clock is distrusted for an hour at first, because a node may set its clock only after the start of its
 * pods, and for a day after each step of more than an hour.
 */

const hour = 3_600_000;
const day = 24 * hour;

export interface ClockTrustOptions {
  /** Milliseconds since 1970. */
  now?: (() => number) | undefined;
  /** Milliseconds of a monotonic clock. */
  elapsed?: (() => number) | undefined;
  /** Called when a step is detected, with its milliseconds. */
  onStep: (step: number) => void;
}

export class ClockTrust {
  readonly #now: () => number;
  readonly #elapsed: () => number;
  readonly #onStep: (step: number) => void;
  /** The difference between the clock and the monotonic clock at the last check. */
  #difference: number | undefined;
  /** Until when the clock is distrusted, by the monotonic clock. */
  #distrusted: number;

  constructor({ now = Date.now, elapsed = () => performance.now(), onStep }: ClockTrustOptions) {
    this.#now = now;
    this.#elapsed = elapsed;
    this.#onStep = onStep;
    this.#distrusted = elapsed() + hour;
    this.check();
  }

  /** Call this regularly: a step is detected between two calls. */
  check(): boolean {
    const difference = this.#now() - this.#elapsed();
    const step = Math.abs(difference - (this.#difference ?? difference));
    this.#difference = difference;
    if (step > hour) {
      this.#distrusted = this.#elapsed() + day;
      this.#onStep(Math.round(step));
    }
    return this.#elapsed() >= this.#distrusted;
  }
}
