/**
 * Removes ended jobs: those that ended long ago, and the oldest above a bound of count or bytes.
 * Invariants: a job that has not ended is never removed. A job whose callback is to be delivered is removed by its age
 * only. One step removes a bounded number of jobs.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { EndState } from '../job.ts';
import type { PruneOptions } from '../job-store.ts';
import { type JobRows, prepareAll } from './job-rows.ts';

const mostInStep = 200;

const sql = {
  old: `SELECT seq, id, state, session FROM jobs WHERE ended_at IS NOT NULL AND ended_at < ?
    ORDER BY ended_at LIMIT ${mostInStep}`,
  ended: `SELECT seq, id, state, session, bytes, callback_due FROM jobs WHERE ended_at IS NOT NULL
    ORDER BY ended_at DESC, seq DESC`,
};

/** The queries of this file, for the test that each uses an index. */
export const pruneQueries: readonly string[] = Object.values(sql);

interface EndedRow {
  seq: number;
  id: string;
  state: EndState;
  session: string | null;
  bytes: number;
  callback_due: number | null;
}

/** The bytes of a row without its request, its result and its events, roughly. */
const bytesOfRow = 2_048;

export class Pruning {
  readonly #rows: JobRows;
  readonly #statements: Record<keyof typeof sql, StatementSync>;

  constructor(db: DatabaseSync, rows: JobRows) {
    this.#rows = rows;
    this.#statements = prepareAll(db, sql);
  }

  /** Removes the next jobs. @returns these jobs, and whether there may be more */
  step({ endedBefore, mostJobs, mostBytes }: PruneOptions): {
    removed: { id: string; state: EndState }[];
    isDone: boolean;
  } {
    const old = this.#statements.old.all(endedBefore) as unknown as EndedRow[];
    const found = old.length > 0 ? old : this.#above(mostJobs, mostBytes);
    for (const { seq, id, session } of found)
      this.#rows.remove({ seq, job: { id, sessionId: session } });
    return {
      removed: found.map(({ id, state }) => ({ id, state })),
      isDone: found.length === 0,
    };
  }

  /** The oldest jobs above the bounds. */
  #above(mostJobs: number, mostBytes: number): EndedRow[] {
    let jobs = 0;
    let bytes = 0;
    const above: EndedRow[] = [];
    for (const row of this.#statements.ended.iterate() as unknown as Iterable<EndedRow>) {
      jobs += 1;
      bytes += row.bytes + bytesOfRow;
      if ((jobs > mostJobs || bytes > mostBytes) && row.callback_due === null) above.push(row);
    }
    return above.reverse().slice(0, mostInStep);
  }
}
