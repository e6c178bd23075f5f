/**
 * How fast something grows: by the first and the last of the samples of some seconds.
 * Always holds: no rate from less than a second, nor across a pause in which nobody looked.
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
    // One beyond the window stays if the rest spans too little.
    while ((this.#samples[1]?.at ?? at) < at - window) this.#samples.shift();
  }

  /** What came before does not count. */
  forget(): void {
    this.#samples = [];
  }

  /** Bytes a second; undefined while there is too little to tell. */
  get rate(): number | undefined {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || !last || last.at - first.at < least) return undefined;
    return ((last.bytes - first.bytes) / (last.at - first.at)) * 1_000;
  }
}
