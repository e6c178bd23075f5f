/**
 * Counts in Redis how many prompts each token has started within an hour, over all replicas.
 * Invariants: a look and its count are one step. At most as many entries are kept as the limit has prompts, and for an
 * hour. Only the clock of Redis counts.
 */
import { randomUUID } from 'node:crypto';
import type { RedisConnection } from './connection.ts';
import type { Keys } from './keys.ts';
import { countStart } from './scripts.ts';

const hour = 3_600_000;

export class PromptStarts {
  readonly #connection: RedisConnection;
  readonly #keys: Keys;

  constructor(connection: RedisConnection, keys: Keys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  /**
   * Counts a start, unless there were `limit` starts within an hour.
   * @returns 0 if the start counts; otherwise the milliseconds until the next one may
   * @throws BerthError `job_store_unavailable`
   */
  async count(token: string, profile: string, limit: number): Promise<number> {
    const words = [this.#keys.starts(token, profile), limit, hour, randomUUID()];
    return Number(await this.#connection.script('count the prompt', countStart, words));
  }
}
