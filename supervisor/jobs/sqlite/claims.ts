/**
 * What is due: jobs to run, callbacks to deliver, and the jobs whose state changes with time.
 * Invariants: each look-up is a seek in an index, so that it costs the same with ten jobs and with ten thousand. Tokens
 * take turns; jobs of priority `background` come last.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { messageOf } from '../../../shared/errors.ts';
import { expire, longestCallbackPause, longestPause } from '../due.ts';
import { become, claimed, type Job } from '../job.ts';
import { requeueLost } from '../job-attempts.ts';
import {
  type HeadRow,
  headColumns,
  isUnreadFile,
  type JobRows,
  prepareAll,
  type Stored,
} from './job-rows.ts';

/** Queued jobs of one priority, token and profile. */
export type Lane = Pick<Job, 'token' | 'profile' | 'priority'>;

/** So many jobs change their state with time in one step, which must be short. */
const mostInStep = 200;

// The indexes are named: without statistics SQLite would choose the index of states, and sort.
const claimable = "state = 'queued' AND waits = 0";
const inLane = `${claimable} AND background = :background AND token = :token AND profile = :profile`;
const toPromote = "state IN ('scheduled', 'parked')";
const toExpire = "state IN ('scheduled', 'queued', 'parked') AND expires_at IS NOT NULL";

const sql = {
  nextLane: `SELECT background, token, profile FROM jobs INDEXED BY jobs_claimable WHERE ${claimable}
    AND (background, token, profile) > (:background, :token, :profile)
    ORDER BY background, token, profile LIMIT 1`,
  immediate: `SELECT ${headColumns}, due_at FROM jobs INDEXED BY jobs_claimable WHERE ${inLane} AND immediate = 1
    ORDER BY due_at, seq LIMIT 1`,
  delayed: `SELECT ${headColumns}, due_at FROM jobs INDEXED BY jobs_claimable WHERE ${inLane} AND immediate = 0 AND due_at <= :now
    ORDER BY due_at, seq LIMIT 1`,
  afterClock: `SELECT ${headColumns}, due_at FROM jobs INDEXED BY jobs_claimable WHERE ${inLane} AND immediate = 0 AND due_at > :now
    ORDER BY due_at, seq LIMIT 1`,
  nextDelayed: `SELECT min(due_at) AS at FROM jobs INDEXED BY jobs_claimable WHERE ${inLane} AND immediate = 0 AND due_at > :now`,
  toPromote: `SELECT ${headColumns} FROM jobs INDEXED BY jobs_to_promote WHERE ${toPromote} AND background = :background AND due_at <= :now
    ORDER BY due_at LIMIT :most`,
  nextPromoted: `SELECT min(due_at) AS at FROM jobs INDEXED BY jobs_to_promote WHERE ${toPromote} AND background = :background`,
  toExpire: `SELECT ${headColumns} FROM jobs INDEXED BY jobs_to_expire WHERE ${toExpire} AND expires_at <= :now
    ORDER BY expires_at LIMIT :most`,
  nextExpired: `SELECT min(expires_at) AS at FROM jobs INDEXED BY jobs_to_expire WHERE ${toExpire}`,
  ofOthers: `SELECT ${headColumns} FROM jobs WHERE state = 'running' AND owner <> :owner`,
  parked: `SELECT ${headColumns} FROM jobs WHERE state = 'parked' AND parked = :reason`,
  callback: `SELECT ${headColumns} FROM jobs WHERE callback_due IS NOT NULL AND callback_due <= :now
    ORDER BY callback_due LIMIT 1`,
  callbackAfterClock: `SELECT ${headColumns} FROM jobs WHERE callback_due IS NOT NULL AND callback_due > :now
    ORDER BY callback_due LIMIT 1`,
  nextCallback: 'SELECT min(callback_due) AS at FROM jobs WHERE callback_due IS NOT NULL',
};

/** The queries of this file, for the test that each uses an index. */
export const claimQueries: readonly string[] = Object.values(sql);

export class Claims {
  readonly #rows: JobRows;
  readonly #statements: Record<keyof typeof sql, StatementSync>;
  /** By token: the number of its last turn. */
  readonly #turns = new Map<string, number>();
  #turn = 0;

  constructor(db: DatabaseSync, rows: JobRows) {
    this.#rows = rows;
    this.#statements = prepareAll(db, sql);
  }

  /** Ends jobs past their `expiresAt`, and queues parked and scheduled jobs that are due. @returns their heads */
  advance(now: number): Job[] {
    const most = mostInStep;
    const toExpire = this.#heads(this.#statements.toExpire.all({ now, most }));
    const changed = toExpire.map((stored) => this.#rows.put(stored, expire(stored.job, now)).job);
    for (const background of [0, 1]) {
      const due = this.#statements.toPromote.all({ background, now, most });
      for (const stored of this.#heads(due)) {
        changed.push(this.#rows.put(stored, become(stored.job, 'queued', now)).job);
      }
    }
    return changed;
  }

  /** The lanes that have a job to run, in the order in which they should be served. */
  lanes(now: number): Lane[] {
    const found = this.#allLanes().flatMap((lane) => {
      const row = this.#firstIn(lane, now);
      return row ? [{ lane, turn: this.#turns.get(lane.token) ?? 0, dueAt: row.due_at }] : [];
    });
    found.sort(
      (a, b) =>
        keyOf(a.lane).background - keyOf(b.lane).background || a.turn - b.turn || a.dueAt - b.dueAt,
    );
    return found.map(({ lane }) => lane);
  }

  /** Makes the first due job of these lanes `running`. @returns the whole job */
  claim(owner: string, now: number, lanes: readonly Lane[]): Job | undefined {
    for (const lane of lanes) {
      // A row that is no job is refused, and then the next one is found.
      for (let row = this.#firstIn(lane, now); row; row = this.#firstIn(lane, now)) {
        const stored = this.#rows.bySeq(row.seq);
        if (stored?.job.state !== 'queued') continue;
        this.#turns.set(lane.token, ++this.#turn);
        return this.#rows.put(stored, claimed(stored.job, owner, now)).job;
      }
    }
    return undefined;
  }

  /** Queues the running jobs of all other owners. @returns the whole jobs */
  reclaim(owner: string, now: number): Job[] {
    return this.#heads(this.#statements.ofOthers.all({ owner })).flatMap((stored) => {
      this.#rows.put(stored, requeueLost(stored.job, now));
      return this.#rows.bySeq(stored.seq)?.job ?? [];
    });
  }

  /** Makes parked jobs due within `spread` milliseconds. @returns their ids */
  unpark(reasons: readonly string[], now: number, spread: number): string[] {
    return reasons.flatMap((reason) =>
      this.#heads(this.#statements.parked.all({ reason })).map((stored) => {
        const dueAt = now + Math.floor(Math.random() * spread);
        this.#rows.put(stored, { ...stored.job, dueAt });
        return stored.job.id;
      }),
    );
  }

  /**
   * Takes the next due callback for `lease` milliseconds. One whose large result cannot be read just now comes back after
   * the lease, with the cause as its last error.
   * @returns the whole job
   */
  claimCallback(now: number, lease: number): Job | undefined {
    const { callback, callbackAfterClock } = this.#statements;
    const find = (): unknown =>
      callback.get({ now }) ?? callbackAfterClock.get({ now: now + longestCallbackPause });
    for (let row = find(); row; row = find()) {
      const stored = this.#rows.head(row as HeadRow);
      if (!stored) continue;
      const { job, seq } = stored;
      if (job.callback?.state !== 'pending') {
        this.#rows.refuse(seq, job.id, 'its columns differ');
        continue;
      }
      const later = { ...job.callback, nextAt: now + lease };
      const leased = this.#rows.put(stored, { ...job, callback: later });
      try {
        return this.#rows.bySeq(seq)?.job;
      } catch (error) {
        if (!isUnreadFile(error)) throw error;
        const lastError = messageOf(error);
        this.#rows.put(leased, { ...job, callback: { ...later, lastError } });
      }
    }
    return undefined;
  }

  nextDue(now: number): { job: number | undefined; callback: number | undefined } {
    const statements = this.#statements;
    const times = [statements.nextExpired.get(), statements.nextPromoted.get({ background: 0 })];
    times.push(statements.nextPromoted.get({ background: 1 }));
    for (const lane of this.#allLanes()) {
      if (this.#firstIn(lane, now)) times.push({ at: now });
      times.push(statements.nextDelayed.get({ ...keyOf(lane), now }));
    }
    return { job: least(times), callback: least([statements.nextCallback.get()]) };
  }

  /** Jumps from lane to lane, without reading their jobs. */
  #allLanes(): Lane[] {
    const lanes: Lane[] = [];
    let after = { background: -1, token: '', profile: '' };
    for (;;) {
      const next = this.#statements.nextLane.get(after) as typeof after | undefined;
      if (!next) return lanes;
      const { background, token, profile } = next;
      lanes.push({ token, profile, priority: background === 1 ? 'background' : 'normal' });
      after = { background, token, profile };
    }
  }

  #firstIn(lane: Lane, now: number): (HeadRow & { due_at: number }) | undefined {
    type Found = (HeadRow & { due_at: number }) | undefined;
    const { immediate, delayed, afterClock } = this.#statements;
    const key = keyOf(lane);
    const one = immediate.get(key) as Found;
    const other = delayed.get({ ...key, now }) as Found;
    if (one && other) return one.due_at <= other.due_at ? one : other;
    return one ?? other ?? (afterClock.get({ ...key, now: now + longestPause }) as Found);
  }

  #heads(rows: unknown): Stored[] {
    return (rows as HeadRow[]).flatMap((row) => this.#rows.head(row) ?? []);
  }
}

function keyOf({ priority, token, profile }: Lane) {
  return { background: priority === 'background' ? 1 : 0, token, profile };
}

function least(rows: readonly unknown[]): number | undefined {
  const times = rows.flatMap((row) => (row as { at: number | null } | undefined)?.at ?? []);
  return times.length === 0 ? undefined : Math.min(...times);
}
