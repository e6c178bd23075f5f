/**
 * Counts the starts of prompts over all replicas that share a store, and those of this replica alone while there is no
 * such store or it does not answer.
 * Invariants: a start that the store has counted is also known here, so a store that goes away grants no token a full
 * number again. A store that does not answer holds up one prompt, and is not called again for some seconds.
 */
import { randomUUID } from 'node:crypto';
import { asBerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { type PromptRate, promptsExceeded } from './prompt-rate.ts';

export interface SharedStarts {
  /**
   * Counts a start over all replicas in one step, unless there were `limit` starts within an hour.
   * @param name of the start, for `forget`
   * @returns 0 if the start counts; otherwise the milliseconds until the next one may
   */
  count(token: string, profile: string, limit: number, name: string): Promise<number>;
  /** Takes a start back. */
  forget(token: string, profile: string, name: string): Promise<void>;
}

/** Takes the start of a prompt back that was not sent. Never throws; the store may keep a start if it does not answer. */
export type TakeBack = () => void;

/** Milliseconds without a call after a failure of the store. */
const rest = 5_000;

export class SharedRate {
  readonly #own: PromptRate;
  readonly #log: Log;
  readonly #elapsed: () => number;
  #shared: SharedStarts | undefined;
  /** Not called before, in milliseconds of the monotonic clock. */
  #restsUntil = Number.NEGATIVE_INFINITY;
  #alone = false;

  /** @param elapsed milliseconds of a monotonic clock */
  constructor(own: PromptRate, log: Log, elapsed: () => number = () => performance.now()) {
    this.#own = own;
    this.#log = log;
    this.#elapsed = elapsed;
  }

  /** Counts over all replicas from now on. */
  shareBy(shared: SharedStarts): void {
    this.#shared = shared;
  }

  /**
   * Counts the start of a prompt.
   * @param limit prompts an hour; undefined: no limit, and nothing is counted
   * @throws BerthError `prompts_exceeded` if the token has started so many; that prompt does not count
   */
  async start(token: string, profile: string, limit: number | undefined): Promise<TakeBack> {
    if (limit === undefined) return () => {};
    const name = randomUUID();
    const wait = await this.#countShared(token, profile, limit, name);
    if (wait === undefined) {
      const start = this.#own.start(token, profile, limit);
      return () => this.#own.forget(token, profile, start);
    }
    if (wait > 0) throw promptsExceeded(token, profile, limit, wait);
    const start = this.#own.note(token, profile, limit);
    return () => {
      this.#own.forget(token, profile, start);
      this.#shared?.forget(token, profile, name).catch(() => undefined);
    };
  }

  /** @returns undefined if only this replica can count */
  async #countShared(
    token: string,
    profile: string,
    limit: number,
    name: string,
  ): Promise<number | undefined> {
    if (!this.#shared || this.#elapsed() < this.#restsUntil) return undefined;
    try {
      const wait = await this.#shared.count(token, profile, limit, name);
      this.#alone = false;
      return wait;
    } catch (error) {
      this.#restsUntil = this.#elapsed() + rest;
      if (!this.#alone) {
        const text =
          'limits.prompts_per_hour counts the prompts of this replica alone until the shared store answers';
        this.#log.warn('prompts_counted_alone', text, { reason: asBerthError(error).message });
      }
      this.#alone = true;
      return undefined;
    }
  }
}
