/** Lists and counts jobs. Invariant: neither requests nor results are read. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { LRUCache } from 'lru-cache';
import { BerthError } from '../../../shared/errors.ts';
import { type JobState, jobTransitions } from '../job.ts';
import type { JobCounts, JobPage, JobQuery } from '../job-store.ts';
import { type HeadRow, headColumns, type JobRows, prepareAll } from './job-rows.ts';

/** The newest jobs. @param pairs the number of names with values that the metadata must have */
function listQuery(isOfToken: boolean, pairs: number, isParked = false): string {
  const jobs = isParked ? 'jobs INDEXED BY jobs_parked' : 'jobs';
  const conditions = [
    ...(isParked ? ["state = 'parked' AND parked = :parked"] : []),
    ...(isOfToken ? ['token = :token'] : []),
    'seq < :before',
    '(:profile IS NULL OR profile = :profile)',
    '(:states IS NULL OR state IN (SELECT value FROM json_each(:states)))',
    ...Array.from({ length: pairs }, (_, at) => {
      return `seq IN (SELECT seq FROM metadata WHERE name = :name${at} AND value = :value${at})`;
    }),
  ];
  return `SELECT ${headColumns} FROM ${jobs} WHERE ${conditions.join(' AND ')} ORDER BY seq DESC LIMIT :most`;
}

const sql = {
  byState: 'SELECT state, count(*) AS count, min(due_at) AS oldest FROM jobs GROUP BY state',
  parked:
    "SELECT parked AS reason, count(*) AS count FROM jobs INDEXED BY jobs_parked WHERE state = 'parked' GROUP BY parked",
  callbacks:
    'SELECT count(*) AS pending, min(ended_at) AS oldest FROM jobs WHERE callback_due IS NOT NULL',
  unfinished:
    "SELECT count(*) AS count FROM jobs WHERE state IN ('scheduled', 'queued', 'running', 'parked')",
  unfinishedOf: `SELECT count(*) AS count FROM jobs INDEXED BY jobs_unfinished
    WHERE token = ? AND state IN ('scheduled', 'queued', 'running', 'parked')`,
};

/** The queries of this file, for the test that each uses an index. */
export const overviewQueries: readonly string[] = [
  ...Object.values(sql),
  listQuery(false, 0),
  listQuery(true, 0),
  listQuery(true, 2),
  listQuery(false, 0, true),
];

export class Overview {
  readonly #rows: JobRows;
  readonly #db: DatabaseSync;
  readonly #statements: Record<keyof typeof sql, StatementSync>;
  /** By their text: a list has as many conditions as the caller gives names. */
  readonly #listings = new LRUCache<string, StatementSync>({ max: 32 });

  constructor(db: DatabaseSync, rows: JobRows) {
    this.#db = db;
    this.#rows = rows;
    this.#statements = prepareAll(db, sql);
  }

  /** @throws BerthError `invalid_request` if the cursor is not of this store */
  list({ token, states, parked, profile, metadata = {}, limit, cursor }: JobQuery): JobPage {
    const pairs = Object.entries(metadata);
    const named = pairs.flatMap(([name, value], at) => [
      [`name${at}`, name],
      [`value${at}`, value],
    ]);
    const found = this.#listing(token !== undefined, pairs.length, parked !== undefined).all({
      before: cursor === undefined ? Number.MAX_SAFE_INTEGER : parseCursor(cursor),
      profile: profile ?? null,
      states: states ? JSON.stringify(states) : null,
      most: limit + 1,
      ...(token === undefined ? {} : { token }),
      ...(parked === undefined ? {} : { parked }),
      ...Object.fromEntries(named),
    }) as unknown as HeadRow[];
    const page = found.slice(0, limit);
    const last = page.at(-1);
    return {
      jobs: page.flatMap((row) => this.#rows.head(row)?.job ?? []),
      cursor: found.length > limit && last ? String(last.seq) : null,
    };
  }

  #listing(isOfToken: boolean, pairs: number, isParked: boolean): StatementSync {
    const text = listQuery(isOfToken, pairs, isParked);
    const known = this.#listings.get(text);
    if (known) return known;
    const statement = this.#db.prepare(text);
    this.#listings.set(text, statement);
    return statement;
  }

  /** The number of jobs that have not ended. @param token only those of this token; absent for all */
  unfinished(token?: string): number {
    const { unfinished, unfinishedOf } = this.#statements;
    return Number((token === undefined ? unfinished.get() : unfinishedOf.get(token))?.count);
  }

  counts(): JobCounts {
    const { byState, parked, callbacks } = this.#statements;
    const states = byState.all();
    const rowOf = (state: JobState) => states.find((row) => row.state === state);
    const names = Object.keys(jobTransitions) as JobState[];
    const found = callbacks.get();
    return {
      byState: Object.fromEntries(
        names.map((state) => [state, Number(rowOf(state)?.count ?? 0)]),
      ) as Record<JobState, number>,
      parked: Object.fromEntries(
        parked.all().map(({ reason, count }) => [String(reason), Number(count)]),
      ),
      oldestQueued: (rowOf('queued')?.oldest as number | undefined) ?? null,
      callbacks: {
        pending: Number(found?.pending ?? 0),
        oldest: (found?.oldest as number | null | undefined) ?? null,
      },
    };
  }
}

function parseCursor(cursor: string): number {
  if (/^\d{1,15}$/.test(cursor)) return Number(cursor);
  throw new BerthError(
    'invalid_request',
    'cannot list the jobs: the cursor is not one that a list returned; leave it out to begin at the newest job',
  );
}
