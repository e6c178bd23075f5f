/**
 * Repairs what a crash between Redis's record and BullMQ's queue has left: entries whose taker died, and queued jobs
 * without an entry.
 * Invariant: at most one replica sweeps at a time.
 */
import type { RedisConnection } from './connection.ts';
import type { Keys } from './keys.ts';
import { type Lane, type Lanes, parseLane } from './lanes.ts';
import { listFields, type Stored } from './record.ts';
import type { Records } from './records.ts';

export interface SweepOptions {
  connection: RedisConnection;
  keys: Keys;
  lanes: Lanes;
  records: Records;
}

/** Milliseconds between two sweeps of all replicas together. */
const interval = 30_000;
/** Jobs that are read at a time. */
const batch = 50;

export class Sweep {
  readonly #options: SweepOptions;

  constructor(options: SweepOptions) {
    this.#options = options;
  }

  /** Sweeps if no replica has done so for a while. */
  async runIfDue(): Promise<void> {
    const { connection, keys } = this.#options;
    const mine = await connection.run('sweep the queues', (client) =>
      client.set(keys.sweep, '1', 'PX', interval, 'NX'),
    );
    if (mine === 'OK') await this.run();
  }

  async run(): Promise<void> {
    const { connection, keys, lanes } = this.#options;
    const known = await connection.run('sweep the queues', (client) => client.hgetall(keys.lanes));
    for (const name of Object.keys(known)) await lanes.tidy(name);
    await this.#entriesFor(Object.values(known).flatMap((lane) => parseLane(lane) ?? []));
  }

  /** Makes queued jobs due that are neither due nor in a queue. */
  async #entriesFor(lanes: readonly Lane[]): Promise<void> {
    const { connection, keys, records } = this.#options;
    const entries = await this.#entries(lanes);
    const queued = await connection.run('sweep the queues', (client) =>
      client.zrange(keys.state('queued'), 0, -1),
    );
    const missing = queued.filter((id) => !entries.has(id));
    for (let at = 0; at < missing.length; at += batch) {
      // Without their requests: all jobs that wait may be missing, and have megabytes each.
      const found = await records.readAll(missing.slice(at, at + batch), listFields);
      await Promise.all(found.map((each) => this.#entryFor(each)));
    }
  }

  async #entryFor({ job, revision }: Stored): Promise<void> {
    const { keys, records } = this.#options;
    if (job.state !== 'queued') return;
    // The new revision gives the new entry a name that no lost entry has.
    const commands: (string | number)[][] = [
      ['HINCRBY', keys.job(job.id), 'rev', 1],
      ['ZADD', keys.due, 'NX', job.dueAt, job.id],
    ];
    if (job.sessionId !== null) {
      commands.push(['BLOCK', keys.session(job.sessionId), keys.due, job.id, keys.jobs]);
    }
    await records.write({ job, revision }, commands);
  }

  /** The ids of the jobs that have an entry. */
  async #entries(lanes: readonly Lane[]): Promise<Set<string>> {
    const ids = await Promise.all(lanes.map((lane) => this.#options.lanes.jobsIn(lane)));
    return new Set(ids.flat());
  }
}
