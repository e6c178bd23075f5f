/**
 * Measures the rate of growth by the first and the last sample of some seconds.
 * Invariant: no rate from less than a second, and no rate across a pause without samples.
 */

/** Milliseconds. */
const least = 1_000;
const window = 3_000;
const longestPause = 10_000;

export class Growth {
  #samples: { at: number; bytes: number }[] = [];

  /** @param at milliseconds of a clock that never jumps */
  add(at: number, bytes: number): void {
    const last = this.#samples.at(-1);
    if (last && (at - last.at > longestPause || at < last.at)) this.#samples = [];
    this.#samples.push({ at, bytes });
    // A sample beyond the window stays if the remaining samples span too little time.
    while ((this.#samples[1]?.at ?? at) < at - window) this.#samples.shift();
  }

  /** Discards earlier samples. */
  forget(): void {
    this.#samples = [];
  }

  /** Bytes a second; undefined while there are too few samples. */
  get rate(): number | undefined {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || !last || last.at - first.at < least) return undefined;
    return ((last.bytes - first.bytes) / (last.at - first.at)) * 1_000;
  }
}
