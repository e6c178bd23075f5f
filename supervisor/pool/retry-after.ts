/** How fast turns go lately, for telling who is turned away when to come back. */
import type { Worker } from './worker.ts';

/** How much the newest turn counts. */
const weight = 0.2;
const longestWait = 300;

export class Pace {
  /** Milliseconds of a turn, as a moving average. */
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

  /** Seconds until so many have been served by so many workers, from 1 to 300. */
  secondsFor(waiting: number, workers: number): number {
    const seconds = Math.ceil((this.#average * waiting) / workers / 1_000);
    return Math.max(1, Math.min(longestWait, seconds));
  }
}
