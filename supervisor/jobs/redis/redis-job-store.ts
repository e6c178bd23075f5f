/**
 * The store of jobs on Redis 7 or Valkey 8, for several replicas. The record of a job is a hash of berth (record.ts); the
 * queues from which jobs are taken are those of BullMQ (lanes.ts).
 * Invariants: those of `JobStore`. What Redis has acknowledged is accepted; how long it survives a loss of power is a
 * matter of the server's `appendfsync` (docs/scaling.md). Without Redis every method fails at once or within a few seconds.
 */
import { hostname } from 'node:os';
import { z } from 'zod';
import type { Log } from '../../../shared/log.ts';
import type { Adoption } from '../../sessions/mirror.ts';
import { callbackDueAt, longestCallbackPause } from '../due.ts';
import type { EndState, Job } from '../job.ts';
import { requeueLost } from '../job-attempts.ts';
import type {
  JobCounts,
  JobEvent,
  JobKey,
  JobPage,
  JobQuery,
  JobStore,
  PruneOptions,
} from '../job-store.ts';
import { RedisAttachments } from './attachments.ts';
import { type Accepts, Claims } from './claims.ts';
import { RedisConnection, type RedisConnectionOptions } from './connection.ts';
import { Keys } from './keys.ts';
import { Lanes } from './lanes.ts';
import { listPage } from './list-page.ts';
import { MirroredSessions, type MirroredSessionsOptions } from './mirrored-sessions.ts';
import { countJobs, firstScore } from './overview.ts';
import { PromptStarts } from './prompt-starts.ts';
import { prune } from './prune.ts';
import { type Command, listFields, withFiles } from './record.ts';
import { Records } from './records.ts';
import { ReplicaStates } from './replica-states.ts';
import { appendEvents } from './scripts.ts';
import { SignsOfLife } from './signs-of-life.ts';
import { Sweep } from './sweep.ts';

export interface RedisJobStoreOptions {
  /** `redis://` or `rediss://`. A secret. */
  url: string;
  log: Log;
  /** The part of all keys that separates several berths on one server; `berth` if absent. */
  name?: string;
  /** The name of this replica, which stays the same over restarts; the host's name if absent. */
  replica?: string;
  /** After so many milliseconds without a sign of life the sessions of a replica are run elsewhere. */
  replicaLost?: number;
  /** After so many milliseconds without `keepAlive` the jobs of an owner are reclaimed. */
  ownerLost?: number;
  /** Milliseconds of a monotonic clock, by which signs of life are judged; `performance.now` if absent. */
  elapsed?: () => number;
  /** What happens if the server would lose jobs; `refuse` if absent. */
  check?: 'refuse' | 'warn';
  /** The most jobs that have not ended. */
  mostWaiting?: number;
  /** The most bytes of the attachments of all jobs together; none if absent. */
  mostFileBytes?: number;
  /** The copies of sessions that replicas keep for each other; none if absent. */
  mirror?: Pick<MirroredSessionsOptions, 'most' | 'expiry'>;
  /** The most milliseconds of one command. */
  deadline?: number;
  /** How the server is checked. */
  checks?: Pick<RedisConnectionOptions, 'betweenChecks' | 'longestSilence'>;
  /** Makes a session of a lost replica exist here. @returns `none` if it cannot; the default */
  adopt?: (sessionId: string) => Promise<Adoption>;
}

const eventSchema = z.object({ at: z.number(), event: z.string(), data: z.unknown() });

const mostEvents = 1_000;
const heartbeat = 5_000;

export class RedisJobStore implements JobStore {
  /** What replicas share beside jobs. */
  readonly states: ReplicaStates;
  /** The prompts that tokens have started on all replicas. */
  readonly starts: PromptStarts;
  /** The attachments of jobs. */
  readonly attachments: RedisAttachments;
  /** The copies of sessions. */
  readonly mirrored: MirroredSessions;
  readonly #connection: RedisConnection;
  readonly #keys: Keys;
  readonly #records: Records;
  readonly #claims: Claims;
  readonly #sweep: Sweep;
  readonly #replica: string;
  readonly #owners: SignsOfLife;
  readonly #replicas: SignsOfLife;
  /** The owners that have claimed jobs here. */
  readonly #ownersHere = new Set<string>();
  readonly #listeners = new Set<(id?: string) => void>();
  #onExpired: (job: Job) => void = () => {};
  #timer: NodeJS.Timeout | undefined;

  constructor(options: RedisJobStoreOptions) {
    const { url, log, check, deadline, adopt = async () => 'none' as const } = options;
    this.#keys = new Keys(options.name ?? 'berth');
    this.#replica = options.replica ?? hostname();
    this.#connection = new RedisConnection({
      ...{ url, log, channel: this.#keys.changes, probe: this.#keys.probe },
      ...options.checks,
      ...(check ? { check } : {}),
      ...(deadline ? { deadline } : {}),
      onMessage: (id) => this.#changed(id),
    });
    const connection = this.#connection;
    this.states = new ReplicaStates(connection, this.#keys, this.#replica);
    this.starts = new PromptStarts(connection, this.#keys);
    const keys = this.#keys;
    this.attachments = new RedisAttachments(connection, keys, options.mostFileBytes ?? 0);
    this.#records = new Records(connection, keys, {
      mostWaiting: options.mostWaiting ?? 100_000,
      onRefused: (id, reason) =>
        log.error('job_refused', `a stored job cannot be used: ${reason}`, {
          job_id: id,
        }),
    });
    const { ownerLost = 30_000, replicaLost = 120_000, elapsed } = options;
    const signs = { connection, elapsed };
    this.#owners = new SignsOfLife({ ...signs, key: keys.owners, lost: ownerLost });
    this.#replicas = new SignsOfLife({ ...signs, key: keys.replicas, lost: replicaLost });
    const lanes = new Lanes(connection, keys);
    this.mirrored = new MirroredSessions({
      ...{ connection, keys, replica: this.#replica, replicas: this.#replicas },
      ...(options.mirror ?? { most: 0, expiry: 0 }),
    });
    this.#claims = new Claims({
      ...{ connection, keys, lanes, adopt },
      records: this.#records,
      replica: this.#replica,
      replicas: this.#replicas,
      onExpired: (job) => this.#onExpired(job),
    });
    this.#sweep = new Sweep({ connection, keys, lanes, records: this.#records });
  }

  /** Connects; a server that is away is waited for in the background. Never rejects. */
  async open(): Promise<void> {
    await this.#connection.open();
    const tick = (): void => {
      // A failure shows in `describe`, and the next tick tries again.
      this.beat().catch(() => {});
      this.#sweep.runIfDue().catch(() => {});
    };
    this.#timer = setInterval(tick, heartbeat).unref();
    await this.beat().catch(() => {});
  }

  async add(job: Job, key?: JobKey): Promise<{ job: Job; created: boolean }> {
    this.#connection.requireRoom('add the job');
    // A session is checked where the job is accepted, so it is here unless another replica is known to have it.
    const more: Command[] =
      job.sessionId === null ? [] : [['HSETNX', this.#keys.homes, job.sessionId, this.#replica]];
    if (job.request.attachments) more.push(...withFiles(this.#keys, job.id));
    for (;;) {
      const id = await this.#records.add(job, key, more);
      if (id === job.id) {
        // A claim does the same for a job that has no entry yet.
        if (job.state === 'queued') this.#claims.queue([id], job.dueAt).catch(() => {});
        return { job, created: true };
      }
      const earlier = await this.#records.read(id);
      // A record that cannot be read was set aside with its key.
      if (earlier) return { job: earlier.job, created: false };
    }
  }

  findByKey(token: string, key: JobKey): Promise<Job | undefined> {
    return this.#records.findByKey(token, key);
  }

  async read(id: string): Promise<Job | undefined> {
    return (await this.#records.read(id))?.job;
  }

  async readHead(id: string): Promise<Job | undefined> {
    const [head] = await this.#records.readAll([id], listFields);
    return head?.job;
  }

  list(query: JobQuery): Promise<JobPage> {
    return listPage(this.#connection, this.#keys, this.#records, query);
  }

  async update(id: string, change: (job: Job) => Job | undefined): Promise<Job | undefined> {
    const result = await this.#records.update(id, change, (job) =>
      job.sessionId !== null && this.#runsHere(job)
        ? [['HSET', this.#keys.homes, job.sessionId, this.#replica]]
        : [],
    );
    return result?.job;
  }

  /** Another replica may change a job that runs elsewhere, for example its approvals: the session stays where it is. */
  #runsHere({ state, owner }: Job): boolean {
    return state === 'running' && owner !== null && this.#ownersHere.has(owner);
  }

  advance(now: number): Promise<void> {
    return this.#claims.advance(now);
  }

  claim(owner: string, now: number, accepts: Accepts = () => true): Promise<Job | undefined> {
    this.#ownersHere.add(owner);
    return this.#claims.next(owner, now, accepts);
  }

  async keepAlive(owner: string): Promise<void> {
    await this.#owners.exchange(owner);
  }

  async reclaim(owner: string, now: number): Promise<Job[]> {
    const ids = await this.#connection.run('search for lost jobs', (client) =>
      client.zrange(this.#keys.state('running'), 0, -1),
    );
    const running = await this.#records.readAll(ids, listFields);
    // Read after the jobs: a claim reports that its owner is alive in the step in which the job gets this owner.
    await this.#owners.exchange(owner);
    const lost = running.filter(
      ({ job }) => job.owner !== owner && this.#owners.isGone(job.owner ?? ''),
    );
    const reclaimed: Job[] = [];
    for (const { job: seen } of lost) {
      const result = await this.#records.update(seen.id, (job) =>
        job.state === 'running' && job.owner === seen.owner ? requeueLost(job, now) : undefined,
      );
      if (result?.changed) reclaimed.push(result.job);
    }
    return reclaimed;
  }

  async unpark(reasons: readonly string[], now: number, spread: number): Promise<number> {
    if (reasons.length === 0) return 0;
    const counts = await this.#connection.run('unpark jobs', (client) =>
      client.hmget(this.#keys.reasons, ...reasons),
    );
    // Asked every few seconds, so thousands of jobs that wait for something else must cost nothing.
    if (counts.every((known) => Number(known ?? 0) <= 0)) return 0;
    const parked = await this.#connection.run('unpark jobs', (client) =>
      client.zrange(this.#keys.state('parked'), 0, -1),
    );
    let count = 0;
    for (const id of parked) {
      const result = await this.#records.update(id, (job) =>
        job.state === 'parked' && job.parked && reasons.includes(job.parked.reason)
          ? { ...job, dueAt: now + Math.floor(Math.random() * spread) }
          : undefined,
      );
      if (result?.changed) count++;
    }
    return count;
  }

  async claimCallback(now: number, lease: number): Promise<Job | undefined> {
    const key = this.#keys.callbacks;
    for (;;) {
      const [due, tooLate] = await this.#connection.run('take a callback', (client) =>
        Promise.all([
          client.zrangebyscore(key, '-inf', now, 'LIMIT', 0, 1),
          client.zrangebyscore(key, `(${now + longestCallbackPause}`, '+inf', 'LIMIT', 0, 1),
        ]),
      );
      const [id] = [...due, ...tooLate];
      if (id === undefined) return undefined;
      const taken = await this.#records.update(id, (job) => {
        const at = callbackDueAt(job);
        const isTime = at !== undefined && (at <= now || at > now + longestCallbackPause);
        if (!isTime || !job.callback) return undefined;
        return { ...job, callback: { ...job.callback, nextAt: now + lease } };
      });
      if (taken?.changed) return taken.job;
    }
  }

  async nextDue(now: number): Promise<{ job: number | undefined; callback: number | undefined }> {
    const { due: queued, later, expiry, callbacks } = this.#keys;
    const [ready, callback, ...first] = await Promise.all([
      this.#claims.isReady(now),
      ...[callbacks, queued, later, expiry].map((key) => firstScore(this.#connection, key)),
    ]);
    if (ready) return { job: now, callback };
    const times = first.filter((time) => time !== undefined);
    return { job: times.length > 0 ? Math.min(...times) : undefined, callback };
  }

  async appendEvents(id: string, events: readonly Omit<JobEvent, 'id'>[]): Promise<void> {
    if (events.length === 0) return;
    await this.#connection.script('append events', appendEvents, [
      ...[this.#keys.job(id), this.#keys.events(id), this.#keys.changes, id, mostEvents],
      this.#keys.endedBytes,
      ...events.map((event) => JSON.stringify(event)),
    ]);
  }

  async events(id: string, after: number): Promise<JobEvent[]> {
    const entries = await this.#connection.run('read events', (client) =>
      client.xrange(this.#keys.events(id), `${after + 1}-0`, '+'),
    );
    return entries.flatMap(([entryId, [, event = '']]) => parseEvent(entryId, event) ?? []);
  }

  async remove(id: string): Promise<boolean> {
    return (await this.#records.remove(id)) !== undefined;
  }

  prune(options: PruneOptions): Promise<{ id: string; state: EndState }[]> {
    return prune(this.#connection, this.#keys, this.#records, options);
  }

  counts(): Promise<JobCounts> {
    return countJobs(this.#connection, this.#keys);
  }

  onChange(listener: (id?: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onExpired(listener: (job: Job) => void): void {
    this.#onExpired = listener;
  }

  describe(): { kind: 'redis'; available: boolean; problem: string | null } {
    const { problem } = this.#connection;
    return { kind: 'redis', available: problem === null, problem };
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#connection.close();
  }

  /** Reports that this replica is alive, and reads the signs of the others, which happens every 5 s. */
  async beat(): Promise<void> {
    await this.#replicas.exchange(this.#replica);
  }

  /** Repairs the queues now, which happens every 30 s. */
  sweep(): Promise<void> {
    return this.#sweep.run();
  }

  #changed(id: string | undefined): void {
    for (const listener of this.#listeners) listener(id);
  }
}

/** Undefined if the entry is no event. */
function parseEvent(entryId: string, text: string): JobEvent | undefined {
  try {
    const event = eventSchema.parse(JSON.parse(text));
    return { ...event, id: Number.parseInt(entryId, 10) };
  } catch {
    return undefined;
  }
}
