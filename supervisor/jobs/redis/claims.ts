/**
 * Takes the next job for an owner.
 * Invariants: normal jobs precede those of priority `background`; within a priority the token whose last turn is the longest
 * ago is served (round robin); within a token the oldest job. Only the first job of a session runs. A job of a session is
 * taken by the replica that has the session, or, if that replica is gone, by any.
 */
import type { Adoption } from '../../sessions/mirror.ts';
import { expire, isDue, isToExpire, isToPromote, longestPause } from '../due.ts';
import { become, claimed, type Job } from '../job.ts';
import type { RedisConnection, Reply } from './connection.ts';
import type { Keys } from './keys.ts';
import { type Lane, type Lanes, nameOf, parseLane } from './lanes.ts';
import { type Command, listFields, type Stored } from './record.ts';
import type { Records } from './records.ts';
import { scan } from './scripts.ts';
import type { SignsOfLife } from './signs-of-life.ts';

export interface ClaimsOptions {
  connection: RedisConnection;
  keys: Keys;
  records: Records;
  lanes: Lanes;
  /** The name of this replica. */
  replica: string;
  /** Knows which replicas are gone. */
  replicas: Pick<SignsOfLife, 'isGone'>;
  /**
   * Called before a job runs whose session is on a replica that is gone: makes the session exist here.
   * @returns `none` if it cannot; the job then begins a new session
   */
  adopt: (sessionId: string) => Promise<Adoption>;
  onExpired: (job: Job) => void;
}

export type Accepts = (job: Pick<Job, 'token' | 'profile' | 'priority'>) => boolean;

/** The most due jobs of one step. */
const mostDue = 500;
/** Jobs that are read and queued at once: if one step fails, the jobs of the steps before have their entries. */
const batch = 50;

interface LaneFound extends Lane {
  name: string;
  first: string;
  turn: number;
}

interface Scan {
  due: string[];
  expired: string[];
  lanes: LaneFound[];
}

export class Claims {
  readonly #options: ClaimsOptions;
  /** By job: the making of its entry. */
  readonly #queueing = new Map<string, Promise<void>>();

  constructor(options: ClaimsOptions) {
    this.#options = options;
  }

  async next(owner: string, now: number, accepts: Accepts): Promise<Job | undefined> {
    const empty = new Set<string>();
    for (;;) {
      const found = await this.#scan(now);
      await Promise.all(found.expired.map((id) => this.#expire(id, now)));
      if (found.due.length > 0) {
        await this.queue(found.due, now);
        if (found.due.length >= mostDue) continue;
      }
      const { lanes } = found.due.length > 0 ? await this.#scan(now) : found;
      const lane = this.#choose(lanes, empty, accepts);
      if (!lane) return undefined;
      const entry = await this.#options.lanes.take(lane.name);
      if (!entry) {
        empty.add(lane.name);
        continue;
      }
      const job = await this.#start(entry.jobId, lane, owner, now);
      // If this fails, the entry returns, and is dropped because its job is not queued.
      entry.drop().catch(() => {});
      if (job) return job;
    }
  }

  /** Queues jobs that are due, and ends jobs past their `expiresAt`; a bounded number of them. */
  async advance(now: number): Promise<void> {
    const { due, expired } = await this.#scan(now);
    await Promise.all(expired.map((id) => this.#expire(id, now)));
    if (due.length > 0) await this.queue(due, now);
  }

  /** Whether a job waits only for its claim. */
  async isReady(now: number): Promise<boolean> {
    const { due, lanes } = await this.#scan(now);
    return due.length > 0 || lanes.some(({ replica }) => this.#mayTake(replica));
  }

  /** Gives due jobs their entry in a queue. Jobs that wait for an earlier job of their session get none yet. */
  async queue(ids: readonly string[], now: number): Promise<void> {
    // A job that was just added is found by a claim while its entry is being made.
    const underWay = ids.filter((id) => this.#queueing.has(id));
    const waited = Promise.allSettled(underWay.map((id) => this.#queueing.get(id)));
    await this.#queueNow(
      ids.filter((id) => !this.#queueing.has(id)),
      now,
    );
    const failed = (await waited).map(({ status }) => status === 'rejected');
    await this.#queueNow(
      underWay.filter((_, index) => failed[index]),
      now,
    );
  }

  async #queueNow(ids: readonly string[], now: number): Promise<void> {
    if (ids.length === 0) return;
    const queueing = this.#queueAll(ids, now);
    for (const id of ids) this.#queueing.set(id, queueing);
    try {
      await queueing;
    } finally {
      for (const id of ids) this.#queueing.delete(id);
    }
  }

  async #queueAll(ids: readonly string[], now: number): Promise<void> {
    for (let at = 0; at < ids.length; at += batch)
      await this.#queue(ids.slice(at, at + batch), now);
  }

  async #queue(ids: readonly string[], now: number): Promise<void> {
    const { keys, records, connection, lanes } = this.#options;
    // Without their requests, which may have megabytes.
    const stored = await records.readAll(ids, listFields);
    const ready = (await Promise.all(stored.map((each) => this.#makeQueued(each, now)))).filter(
      (each) => each !== undefined,
    );
    const firsts = await Promise.all(
      ready.map(async ({ job }) => {
        if (job.sessionId === null) return { first: job.id, home: null };
        const session = job.sessionId;
        const home = await connection.run('queue the job', (client) =>
          client.hget(keys.homes, session),
        );
        return { first: await records.firstOf(session), home };
      }),
    );
    const byLane = new Map<string, { lane: Lane; entries: Stored[] }>();
    for (const [index, each] of ready.entries()) {
      const { token, profile, priority, id } = each.job;
      const { first = id, home } = firsts[index] ?? { home: null };
      if (first !== id) {
        await records.write(each, [
          ['BLOCK', keys.session(each.job.sessionId ?? ''), keys.due, id, keys.jobs],
        ]);
        continue;
      }
      const lane = { token, profile, priority, replica: home };
      const name = nameOf(lane);
      const { entries } = byLane.get(name) ?? { entries: [] };
      byLane.set(name, { lane, entries: [...entries, each] });
    }
    for (const { lane, entries } of byLane.values()) {
      await lanes.add(lane, entries);
      await Promise.all(
        entries.map((each) =>
          records.write(each, [lanes.known(lane), ['ZREM', keys.due, each.job.id]]),
        ),
      );
    }
  }

  /** A due job in the state `queued`; undefined if it is not due any more. */
  async #makeQueued(stored: Stored, now: number): Promise<Stored | undefined> {
    const { job } = stored;
    if (job.state === 'queued') return isDue(job, now) ? stored : undefined;
    const { records } = this.#options;
    await records.update(job.id, (found) =>
      isToPromote(found, now) ? become(found, 'queued', now) : undefined,
    );
    const [changed] = await records.readAll([job.id], listFields);
    return changed && isDue(changed.job, now) ? changed : undefined;
  }

  async #expire(id: string, now: number): Promise<void> {
    const { records, onExpired } = this.#options;
    const result = await records.update(id, (job) =>
      isToExpire(job, now) ? expire(job, now) : undefined,
    );
    if (result?.changed) onExpired(result.job);
  }

  #choose(
    lanes: readonly LaneFound[],
    empty: ReadonlySet<string>,
    accepts: Accepts,
  ): LaneFound | undefined {
    return lanes
      .filter(({ name }) => !empty.has(name))
      .filter(({ replica }) => this.#mayTake(replica))
      .filter(({ token, profile, priority }) => accepts({ token, profile, priority }))
      .reduce<LaneFound | undefined>(
        (best, each) => (best && !precedes(each, best) ? best : each),
        undefined,
      );
  }

  #mayTake(lane: string | null): boolean {
    const { replica, replicas } = this.#options;
    return lane === null || lane === replica || replicas.isGone(lane);
  }

  async #start(id: string, lane: Lane, owner: string, now: number): Promise<Job | undefined> {
    const { keys, records, replica } = this.#options;
    const adoption = await this.#adoptionOf(id, lane);
    if (adoption === 'blocked') return undefined;
    // The replica that has the session takes the job, or this one does when it can write the copy.
    if (adoption === 'later') return undefined;
    const result = await records.update(
      id,
      (job) => {
        if (!isDue(job, now)) return undefined;
        const running = claimed(job, owner, now);
        if (adoption === 'none') return withoutSession(running, lane.replica ?? '');
        return adoption === 'adopted' ? withCopy(running, lane.replica ?? '') : running;
      },
      (job): Command[] => [
        ['ALIVE', keys.owners, owner],
        ['TURN', keys.turns, keys.turn, job.token],
        ...(job.sessionId === null ? [] : [['HSET', keys.homes, job.sessionId, replica]]),
      ],
      { isFirst: true },
    );
    if (result?.changed) return result.job;
    // An earlier job of its session is there, or the job is not due by the clock of this replica.
    const again = await records.read(id);
    if (again?.job.state === 'queued') await this.#makeDue(again);
    return undefined;
  }

  /** What became of the session of a job that is on another replica, which is gone. */
  async #adoptionOf(id: string, lane: Lane): Promise<Adoption | 'blocked'> {
    const { records, replica, adopt } = this.#options;
    if (lane.replica === null || lane.replica === replica) return 'here';
    const stored = await records.read(id);
    const session = stored?.job.sessionId;
    if (!stored || session == null) return 'here';
    if ((await records.firstOf(session)) === id) return adopt(session);
    await this.#makeDue(stored);
    return 'blocked';
  }

  /**
   * Makes a queued job without an entry due again. If it is not the first of its session, the end of the earlier jobs does
   * that.
   */
  async #makeDue(stored: Stored): Promise<void> {
    const { keys, records } = this.#options;
    const { id, sessionId, dueAt } = stored.job;
    // The new revision gives the next entry another name than that of the one that is being dropped.
    const commands: Command[] = [
      ['HINCRBY', keys.job(id), 'rev', 1],
      ['ZADD', keys.due, dueAt, id],
    ];
    if (sessionId !== null) {
      commands.push(['BLOCK', keys.session(sessionId), keys.due, id, keys.jobs]);
    }
    await records.write(stored, commands);
  }

  async #scan(now: number): Promise<Scan> {
    const { connection, keys } = this.#options;
    const [due, expired, lanes] = (await connection.script('take a job', scan, [
      ...[now, mostDue, longestPause, keys.due, keys.later, keys.expiry, keys.lanes, keys.turns],
      keys.prefix,
    ])) as [string[], string[], [string, string, string, string][]] & Reply[];
    return {
      due,
      expired,
      lanes: lanes.flatMap(([name, text, first, turn]) => {
        const lane = parseLane(text);
        return lane ? [{ ...lane, name, first, turn: Number(turn) }] : [];
      }),
    };
  }
}

/** Whether `left` is served before `right`. */
function precedes(left: LaneFound, right: LaneFound): boolean {
  if (left.priority !== right.priority) return left.priority === 'normal';
  if (left.turn !== right.turn) return left.turn < right.turn;
  return left.first < right.first;
}

function withCopy(job: Job, replica: string): Job {
  const note = `The session ${job.sessionId} was on the replica ${replica}, which is gone: the job continues the copy of its transcript.`;
  return { ...job, notes: [...job.notes, note] };
}

function withoutSession(job: Job, replica: string): Job {
  const { session_id: lost, fork: _, ...request } = job.request;
  return {
    ...job,
    request,
    sessionId: null,
    ownSession: false,
    promptId: null,
    notes: [
      ...job.notes,
      `The session ${job.sessionId ?? lost} was on the replica ${replica}, which is gone: the job began a new session.`,
    ],
  };
}
