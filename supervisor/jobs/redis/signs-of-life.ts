/**
 * Decides who is gone: an owner of jobs, or a replica, whose sign of life stays the same while this process reads it again
 * and again.
 * Invariants: only time counts in which this process has reported its own sign and has read those of the others, without a
 * break. After a break (Redis was away, hung or full, or this process stood still) the others have the whole time again:
 * they could not report either. No clock of the day decides, neither that of a replica nor that of Redis.
 */
import type { RedisConnection } from './connection.ts';
import { beat } from './scripts.ts';

export interface SignsOfLifeOptions {
  connection: RedisConnection;
  /** The sorted set of the signs: the time of each by the clock of Redis. */
  key: string;
  /** After so many milliseconds with the same sign its name is gone. */
  lost: number;
  /** Milliseconds of a monotonic clock; `performance.now` if absent. */
  elapsed?: (() => number) | undefined;
}

/** Signs are read every 5 s: a longer pause in milliseconds is a break. It is shorter than every `lost` of a deployment. */
const longestPause = 8_000;
/** Older signs are removed from Redis. In milliseconds. */
const kept = 24 * 3_600_000;

export class SignsOfLife {
  readonly #options: SignsOfLifeOptions;
  /** The last sign of each name, undefined if it has none, and when this process has read it first. */
  readonly #seen = new Map<string, { sign: string | undefined; since: number }>();
  #read = Number.NEGATIVE_INFINITY;

  constructor(options: SignsOfLifeOptions) {
    this.#options = options;
  }

  /** Reports that `name` is alive, and reads the signs of all. @throws BerthError `job_store_unavailable` */
  async exchange(name: string): Promise<void> {
    const { connection, key } = this.#options;
    const words = (await connection
      .script('report a sign of life', beat, [key, name, kept])
      .catch((error: unknown) => {
        this.#seen.clear();
        throw error;
      })) as string[];
    const at = this.#elapsed();
    if (at - this.#read > longestPause) this.#seen.clear();
    this.#read = at;
    const signs = new Map<string, string>();
    for (let index = 0; index < words.length; index += 2) {
      signs.set(words[index] ?? '', words[index + 1] ?? '');
    }
    for (const each of new Set([...this.#seen.keys(), ...signs.keys()])) {
      const sign = signs.get(each);
      const known = this.#seen.get(each);
      if (!known || known.sign !== sign) this.#seen.set(each, { sign, since: at });
    }
  }

  /** Whether `name` was silent for the whole time, as of the last `exchange`; false if that was long ago. */
  isGone(name: string): boolean {
    if (this.#elapsed() - this.#read > longestPause) return false;
    const known = this.#seen.get(name) ?? { sign: undefined, since: this.#read };
    this.#seen.set(name, known);
    return this.#read - known.since >= this.#options.lost;
  }

  #elapsed(): number {
    return (this.#options.elapsed ?? (() => performance.now()))();
  }
}
