/** Lists and counts jobs. Invariant: neither requests nor results are read. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { BerthError } from '../../../shared/errors.ts';
import { type JobState, jobTransitions } from '../job.ts';
import type { JobCounts, JobPage, JobQuery } from '../job-store.ts';
import { type HeadRow, headColumns, type JobRows, prepareAll } from './job-rows.ts';

const filters = `seq < :before AND (:profile IS NULL OR profile = :profile)
  AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
  AND (:metadata IS NULL OR NOT EXISTS (SELECT 1 FROM json_each(:metadata) AS wanted WHERE NOT EXISTS (
    SELECT 1 FROM json_each(jobs.job, '$.metadata') AS own WHERE own.key = wanted.key AND own.value = wanted.value)))
  ORDER BY seq DESC LIMIT :most`;

const sql = {
  all: `SELECT ${headColumns} FROM jobs WHERE ${filters}`,
  ofToken: `SELECT ${headColumns} FROM jobs WHERE token = :token AND ${filters}`,
  byState: 'SELECT state, count(*) AS count, min(due_at) AS oldest FROM jobs GROUP BY state',
  parked:
    "SELECT parked AS reason, count(*) AS count FROM jobs INDEXED BY jobs_parked WHERE state = 'parked' GROUP BY parked",
  callbacks:
    'SELECT count(*) AS pending, min(ended_at) AS oldest FROM jobs WHERE callback_due IS NOT NULL',
  unfinished:
    "SELECT count(*) AS count FROM jobs WHERE state IN ('scheduled', 'queued', 'running', 'parked')",
};

/** The queries of this file, for the test that each uses an index. */
export const overviewQueries: readonly string[] = Object.values(sql);

export class Overview {
  readonly #rows: JobRows;
  readonly #statements: Record<keyof typeof sql, StatementSync>;

  constructor(db: DatabaseSync, rows: JobRows) {
    this.#rows = rows;
    this.#statements = prepareAll(db, sql);
  }

  /** @throws BerthError `invalid_request` if the cursor is not of this store */
  list({ token, states, profile, metadata, limit, cursor }: JobQuery): JobPage {
    const filter = {
      before: cursor === undefined ? Number.MAX_SAFE_INTEGER : parseCursor(cursor),
      profile: profile ?? null,
      states: states ? JSON.stringify(states) : null,
      metadata: metadata && Object.keys(metadata).length > 0 ? JSON.stringify(metadata) : null,
      most: limit + 1,
    };
    const { all, ofToken } = this.#statements;
    const found = (token === undefined
      ? all.all(filter)
      : ofToken.all({ ...filter, token })) as unknown as HeadRow[];
    const page = found.slice(0, limit);
    const last = page.at(-1);
    return {
      jobs: page.flatMap((row) => this.#rows.head(row)?.job ?? []),
      cursor: found.length > limit && last ? String(last.seq) : null,
    };
  }

  /** The number of jobs that have not ended. */
  unfinished(): number {
    return Number(this.#statements.unfinished.get()?.count);
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
