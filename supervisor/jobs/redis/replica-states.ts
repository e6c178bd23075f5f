/**
 * What replicas share beside jobs: each replica publishes its own spending of the day, its pause and the limits that it has
 * heard of, and reads those of the others.
 * Invariants: a replica writes only its own entry, as a whole, so that a repeated write counts nothing twice. An entry is
 * checked when it is read. Entries that are three days old are removed.
 */
import { z } from 'zod';
import type { RedisConnection } from './connection.ts';
import type { Keys } from './keys.ts';

const dollars = z.number().nonnegative().max(1e9);
const byName = z.record(z.string().max(128), dollars);
const time = z.number();

const limit = z.object({
  status: z.string(),
  type: z.string().optional(),
  resetsAt: time.optional(),
  utilization: z.number().optional(),
  usingOverage: z.boolean(),
  windows: z.record(z.string(), z.object({ utilization: z.number(), resetsAt: time.optional() })),
});

const replicaState = z.object({
  version: z.literal(1),
  /** Milliseconds since 1970. */
  at: time,
  spent: z.object({
    version: z.literal(1),
    day: z.iso.date(),
    total_usd: dollars,
    tokens: byName,
    profiles: byName,
  }),
  pause: z.object({
    /** When it began or ended, in milliseconds since 1970; 0 if it never did. */
    at: time,
    /** Null while prompts are accepted. */
    by: z.string().max(128).nullable(),
    reason: z.string().max(2_000).nullable(),
    paused: z.boolean(),
  }),
  /** By login: what the API has reported last about which account, and when. */
  limits: z.record(
    z.string().max(256),
    z.object({ at: time, limit, account: z.string().max(64).optional() }),
  ),
});

export type ReplicaState = z.infer<typeof replicaState>;

const oldest = 3 * 24 * 3_600_000;

export class ReplicaStates {
  readonly #connection: RedisConnection;
  readonly #keys: Keys;
  readonly #replica: string;

  constructor(connection: RedisConnection, keys: Keys, replica: string) {
    this.#connection = connection;
    this.#keys = keys;
    this.#replica = replica;
  }

  /**
   * @returns what this replica published last, also before its restart; undefined if it cannot be read
   * @throws BerthError `job_store_unavailable`
   */
  async own(): Promise<ReplicaState | undefined> {
    const text = await this.#connection.run('share limits and spending', (client) =>
      client.hget(this.#keys.states, this.#replica),
    );
    return text === null ? undefined : parse(text);
  }

  /**
   * Publishes the state of this replica.
   * @returns those of the others; an entry that cannot be read is left out
   * @throws BerthError `job_store_unavailable`
   */
  async exchange(own: ReplicaState): Promise<ReplicaState[]> {
    const key = this.#keys.states;
    const entries = await this.#connection.run('share limits and spending', async (client) => {
      await client.hset(key, this.#replica, JSON.stringify(own));
      return client.hgetall(key);
    });
    const others: ReplicaState[] = [];
    for (const [replica, text] of Object.entries(entries)) {
      if (replica === this.#replica) continue;
      const state = parse(text);
      if (state && state.at >= own.at - oldest) others.push(state);
      else {
        await this.#connection.run('forget a replica', (client) => client.hdel(key, replica));
      }
    }
    return others;
  }
}

function parse(text: string): ReplicaState | undefined {
  try {
    return replicaState.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
