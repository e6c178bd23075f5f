/**
 * Counts in Redis how many prompts each token has started within an hour, over all replicas.
 * Invariants: a check and its count are one step. At most as many entries are kept as the limit has prompts, and for an
 * hour. Only the clock of Redis counts.
 */
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
   * @param name a new one, for `forget`
   * @returns 0 if the start counts; otherwise the milliseconds until the next one may
   * @throws BerthError `job_store_unavailable`
   */
  async count(token: string, profile: string, limit: number, name: string): Promise<number> {
    const words = [this.#keys.starts(token, profile), limit, hour, name];
    return Number(await this.#connection.script('count the prompt', countStart, words));
  }

  /** Takes a start back: its prompt was not sent. @throws BerthError `job_store_unavailable` */
  async forget(token: string, profile: string, name: string): Promise<void> {
    const key = this.#keys.starts(token, profile);
    await this.#connection.run('forget the start of the prompt', (client) =>
      client.zrem(key, name),
    );
  }
}
