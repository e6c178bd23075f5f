/** Estimates after how many seconds a rejected caller should try again, from the length of recent turns. */
import type { Worker } from './worker.ts';

/** The weight of the newest turn in the average. */
const weight = 0.2;
const longestWait = 300;

export class RetryAfter {
  /** The moving average of the length of a turn, in milliseconds. */
  #average = 5_000;
  readonly #began = new WeakMap<Worker, number>();

  began(worker: Worker): void {
    this.#began.set(worker, performance.now());
  }

  ended(worker: Worker): void {
    const began = this.#began.get(worker);
    if (began === undefined) return;
    this.#average += weight * (performance.now() - began - this.#average);
  }

  /** Seconds until so many workers have served so many prompts, from 1 to 300. */
  secondsFor(waiting: number, workers: number): number {
    const seconds = Math.ceil((this.#average * waiting) / workers / 1_000);
    return Math.max(1, Math.min(longestWait, seconds));
  }
}
