/**
 * The queues of BullMQ. Each queue ("lane") holds the entries of jobs of one token, profile and priority, and of one replica
 * if the session of these jobs is there. So whole queues can be passed over, and tokens can take turns.
 * Invariants: an entry is a hint, and the record of the job decides: an entry whose job is not queued is dropped. The name
 * of an entry begins with the time and the id of its job, and has the job's revision, so that an old entry never stands in the place of a new one. An entry whose
 * taker died returns to its queue (BullMQ's stalled jobs).
 */
import { createHash } from 'node:crypto';
import { Queue, type QueueOptions, Worker } from 'bullmq';
import { z } from 'zod';
import type { Job } from '../job.ts';
import type { RedisConnection } from './connection.ts';
import type { Keys } from './keys.ts';
import type { Command, Stored } from './record.ts';
import { forgetLane } from './scripts.ts';

export interface Lane {
  token: string;
  profile: string;
  priority: Job['priority'];
  /** The replica that has the sessions of these jobs; null if any replica may run them. */
  replica: string | null;
}

/** An entry that was taken. */
export interface Entry {
  jobId: string;
  /** Removes the entry. */
  drop(): Promise<void>;
}

const laneSchema: z.ZodType<Lane> = z.object({
  token: z.string(),
  profile: z.string(),
  priority: z.enum(['normal', 'background']),
  replica: z.string().nullable(),
});

interface OpenLane {
  queue: Queue;
  worker: Worker;
}

/** After so many milliseconds an entry whose taker died returns to its queue. */
const lock = 30_000;
/** Events of BullMQ that are kept in each queue: nobody reads them. */
const mostEvents = 1;

export class Lanes {
  readonly #connection: RedisConnection;
  readonly #keys: Keys;
  readonly #open = new Map<string, OpenLane>();
  #root: Promise<Queue> | undefined;
  #taken = 0;

  constructor(connection: RedisConnection, keys: Keys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  /**
   * Adds entries to a queue, which is to be made `known` then. Jobs that have begun before precede the others, so that a
   * drain or a limit does not send them to the end.
   */
  async add(lane: Lane, jobs: readonly Stored[]): Promise<void> {
    const name = nameOf(lane);
    const { queue } = await this.#lane(name);
    const entries = jobs.map(({ job, revision }) => ({
      name: 'job',
      data: {},
      opts: {
        jobId: `${String(job.dueAt).padStart(15, '0')}.${job.id}.${revision}`,
        priority: job.startedAt === null ? 1 : 0,
        removeOnComplete: true,
        removeOnFail: true,
      },
    }));
    await this.#connection.run('queue the job', async (client) => {
      // With each entry: a replica that finds the queue empty removes all of its keys.
      const fewEvents = client.hset(queue.toKey('meta'), 'opts.maxLenEvents', mostEvents);
      await Promise.all([fewEvents, queue.addBulk(entries)]);
    });
  }

  /** The command that makes a queue known, for the step that takes its jobs out of those that are due. */
  known(lane: Lane): Command {
    return ['HSET', this.#keys.lanes, nameOf(lane), JSON.stringify(lane)];
  }

  /** Takes the first entry of a queue; undefined if there is none. */
  async take(name: string): Promise<Entry | undefined> {
    const { worker } = await this.#lane(name);
    const token = `${process.pid}-${this.#taken++}`;
    const entry = await this.#connection.run('take a job', () =>
      worker.getNextJob(token, { block: false }),
    );
    if (!entry?.id) return undefined;
    return {
      jobId: jobIdOf(entry.id),
      drop: async () => {
        await this.#connection.run('drop an entry', () =>
          entry.moveToCompleted(null, token, false),
        );
      },
    };
  }

  /** Returns entries whose taker died to this queue, and forgets the queue if it is empty. */
  async tidy(name: string): Promise<void> {
    const { worker } = await this.#lane(name);
    const backend = worker.getBackend();
    await this.#connection.run('search for stalled entries', () => backend.moveStalledJobsToWait());
    const forgotten = await this.#connection.script('forget a queue', forgetLane, [
      ...[this.#keys.lanes, name, this.#keys.prefix],
    ]);
    if (forgotten === 1) this.#open.delete(name);
  }

  /** The ids of the jobs that have an entry in a queue, waiting or taken. */
  async jobsIn(lane: Lane): Promise<string[]> {
    const { queue } = await this.#lane(nameOf(lane));
    const entries = await this.#connection.run('search for entries', (client) =>
      Promise.all([
        client.lrange(queue.toKey('wait'), 0, -1),
        client.lrange(queue.toKey('active'), 0, -1),
        client.zrange(queue.toKey('prioritized'), 0, -1),
      ]),
    );
    return entries.flat().map(jobIdOf);
  }

  async #lane(name: string): Promise<OpenLane> {
    const known = this.#open.get(name);
    if (known) return known;
    const root = await this.#rootQueue();
    const again = this.#open.get(name);
    if (again) return again;
    const factory = () => root.getBackend().forQueue(name, this.#keys.prefix);
    const options = { ...this.#options(), autorun: false, skipMetasUpdate: true };
    const queue = new Queue(name, options, factory as never);
    const worker = new Worker(name, undefined, options, factory as never);
    // The connection reports its failures itself.
    queue.on('error', () => {});
    worker.on('error', () => {});
    const lane = { queue, worker };
    this.#open.set(name, lane);
    return lane;
  }

  /** The queue that owns BullMQ's use of the connection; made again if the server was away at its start. */
  #rootQueue(): Promise<Queue> {
    this.#root ??= this.#connection
      .run('open the queues', async () => {
        const root = new Queue('root', { ...this.#options(), skipMetasUpdate: true });
        root.on('error', () => {});
        await root.waitUntilReady();
        return root;
      })
      .catch((error: unknown) => {
        this.#root = undefined;
        throw error;
      });
    return this.#root;
  }

  #options() {
    return {
      connection: this.#connection.client,
      prefix: this.#keys.prefix,
      streams: { events: { maxLen: mostEvents } },
      lockDuration: lock,
      stalledInterval: lock,
      maxStalledCount: 1_000_000,
    } satisfies QueueOptions & Record<string, unknown>;
  }
}

/** Undefined if the text is not that of a lane. */
export function parseLane(text: string): Lane | undefined {
  try {
    return laneSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** BullMQ allows no colon in names, and names of tokens and profiles may have one. */
export function nameOf(lane: Lane): string {
  const { token, profile, priority, replica } = lane;
  const text = JSON.stringify([token, profile, priority, replica]);
  return `lane-${createHash('sha256').update(text).digest('hex').slice(0, 20)}`;
}

function jobIdOf(entry: string): string {
  return entry.split('.')[1] ?? '';
}
