/**
 * The rows of jobs: a job is written with the columns by which it is found, and read with a check.
 * Invariants: the columns follow from the job. `waits` is 0 for the first unfinished job of a session, or for the job of it
 * that runs, and 1 for the others. A row that is no job of berth is moved to the table `refused`, and never blocks other jobs. An unfinished job
 * whose request is lost fails.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { BerthError } from '../../../shared/errors.ts';
import { blockingStates, callbackDueAt } from '../due.ts';
import { isEnd, type Job } from '../job.ts';
import { headText, parseHead, parseRequest, parseResult } from '../job-schema.ts';
import type { JobKey } from '../job-store.ts';
import { withoutRequest } from '../lost-request.ts';
import { flawOf, StoredFlaw } from '../stored-flaw.ts';
import { largestInRow, type ResultFiles } from './result-files.ts';

/** A job with its place in the table. */
export interface Stored {
  seq: number;
  version: number;
  job: Job;
}

export interface HeadRow {
  seq: number;
  id: string;
  state: string;
  version: number;
  job: string;
}

export interface Refusal {
  id: string;
  reason: string;
}

export interface JobRowsOptions {
  files: ResultFiles;
  /** Called for each row that is set aside, and for each job that fails because its request is lost. */
  onRefused: (refusal: Refusal) => void;
  /** Called when a change is to be followed by the removal of a file, after its commit. */
  onFileUnused: (id: string) => void;
}

/** The columns that a head is made of. */
export const headColumns = 'seq, id, state, version, job';

const sql = {
  byId: `SELECT ${headColumns} FROM jobs WHERE id = ?`,
  bySeq: `SELECT ${headColumns} FROM jobs WHERE seq = ?`,
  byKey: 'SELECT seq, digest FROM keys WHERE token = ? AND key = ?',
  insertKey: 'INSERT INTO keys (token, key, digest, seq) VALUES (?, ?, ?, ?)',
  insert: `INSERT INTO jobs (id, token, profile, state, background, session, waits, immediate, due_at, expires_at,
    ended_at, parked, owner, callback_due, bytes, version, job)
    VALUES (:id, :token, :profile, :state, :background, :session, 0, :immediate, :due_at, :expires_at,
    :ended_at, :parked, :owner, :callback_due, :bytes, 1, :job)`,
  update: `UPDATE jobs SET token = :token, profile = :profile, state = :state, background = :background,
    session = :session, immediate = :immediate, due_at = :due_at, expires_at = :expires_at, ended_at = :ended_at,
    parked = :parked, owner = :owner, callback_due = :callback_due, bytes = bytes + :bytes, version = version + 1,
    job = :job WHERE id = :id`,
  firstOfSession: `SELECT seq FROM jobs WHERE session = ? AND seq <> ? AND state IN ('queued', 'running', 'parked')
    ORDER BY seq LIMIT 1`,
  runningOfSession:
    "SELECT seq FROM jobs WHERE session = ? AND seq <> ? AND state = 'running' LIMIT 1",
  session: 'SELECT session FROM jobs WHERE seq = ?',
  setWaits: 'UPDATE jobs SET waits = ? WHERE seq = ?',
  insertMetadata: 'INSERT INTO metadata (name, value, seq) VALUES (?, ?, ?)',
  request: 'SELECT request FROM requests WHERE seq = ?',
  insertRequest: 'INSERT INTO requests (seq, request) VALUES (?, ?)',
  result: 'SELECT result FROM results WHERE seq = ?',
  putResult: 'INSERT OR REPLACE INTO results (seq, id, result) VALUES (?, ?, ?)',
  addBytes: 'UPDATE jobs SET bytes = bytes + ? WHERE seq = ?',
  refuse: `INSERT INTO refused (id, at, reason, job, request)
    SELECT id, :at, :reason, job, (SELECT request FROM requests WHERE requests.seq = jobs.seq) FROM jobs
    WHERE seq = :seq`,
  boundRefused: `DELETE FROM refused WHERE rowid <= (SELECT max(rowid) FROM refused) - 1000`,
  deleteJob: 'DELETE FROM jobs WHERE seq = ?',
  deleteRequest: 'DELETE FROM requests WHERE seq = ?',
  deleteResult: 'DELETE FROM results WHERE seq = ?',
  deleteKey: 'DELETE FROM keys WHERE seq = ?',
  deleteMetadata: 'DELETE FROM metadata WHERE seq = ?',
  deleteEvents: 'DELETE FROM events WHERE seq = ?',
  inFile: 'SELECT 1 FROM results WHERE id = ? AND result IS NULL',
};

export class JobRows {
  readonly #statements: Record<keyof typeof sql, StatementSync>;
  readonly #options: JobRowsOptions;

  constructor(db: DatabaseSync, options: JobRowsOptions) {
    this.#options = options;
    this.#statements = prepareAll(db, sql);
  }

  /** @returns the job that was added with this key earlier, and the digest of its request */
  byKey(token: string, key: string): { stored: Stored; digest: string } | undefined {
    const row = this.#statements.byKey.get(token, key) as
      | { seq: number; digest: string }
      | undefined;
    const stored = row && this.bySeq(row.seq);
    return row && stored && { stored, digest: row.digest };
  }

  insert(job: Job, key?: JobKey): Stored {
    const statements = this.#statements;
    const request = JSON.stringify(job.request);
    const added = statements.insert.run({
      ...columns(job),
      bytes: request.length,
    });
    const seq = Number(added.lastInsertRowid);
    statements.insertRequest.run(seq, request);
    if (key) statements.insertKey.run(job.token, key.key, key.digest, seq);
    for (const [name, value] of Object.entries(job.metadata)) {
      statements.insertMetadata.run(name, value, seq);
    }
    this.#putResult(seq, job);
    this.#order(seq, undefined, job);
    return { seq, version: 1, job };
  }

  /** @throws BerthError `volume_unwritable` if its large result cannot be read just now, as `bySeq` and `byKey` */
  byId(id: string): Stored | undefined {
    return this.#whole(this.#statements.byId.get(id));
  }

  headById(id: string): Stored | undefined {
    const row = this.#statements.byId.get(id);
    return row && this.head(row as unknown as HeadRow);
  }

  bySeq(seq: number): Stored | undefined {
    return this.#whole(this.#statements.bySeq.get(seq));
  }

  /** The job of a row, without its request and its result; undefined if the row was refused. */
  head(row: HeadRow): Stored | undefined {
    try {
      const job = parseHead(row.job);
      if (job.id !== row.id || job.state !== row.state) throw new StoredFlaw('its columns differ');
      return {
        seq: row.seq,
        version: row.version,
        job: { ...job, request: { prompt: '' }, result: null },
      };
    } catch (error) {
      this.refuse(row.seq, row.id, flawOf(error));
      return undefined;
    }
  }

  /** Writes the new state of a job. The first result is written, the request never. */
  put(before: Stored, job: Job): Stored {
    this.#statements.update.run({ ...columns(job), bytes: 0 });
    if (before.job.result === null) this.#putResult(before.seq, job);
    this.#order(before.seq, before.job, job);
    return { seq: before.seq, version: before.version + 1, job };
  }

  addBytes(seq: number, bytes: number): void {
    this.#statements.addBytes.run(bytes, seq);
  }

  remove({ seq, job }: Pick<Stored, 'seq'> & { job: Pick<Job, 'id' | 'sessionId'> }): void {
    const statements = this.#statements;
    if (statements.inFile.get(job.id)) this.#options.onFileUnused(job.id);
    statements.deleteJob.run(seq);
    statements.deleteRequest.run(seq);
    statements.deleteResult.run(seq);
    statements.deleteKey.run(seq);
    statements.deleteMetadata.run(seq);
    statements.deleteEvents.run(seq);
    this.#wake(job.sessionId, seq);
  }

  /** Moves a row away that is no job. @param reason is logged: without stored text */
  refuse(seq: number, id: string, reason: string): void {
    this.#statements.refuse.run({ seq, at: Date.now(), reason });
    this.#statements.boundRefused.run();
    const row = this.#statements.session.get(seq) as { session: string | null } | undefined;
    this.remove({ seq, job: { id, sessionId: row?.session ?? null } });
    this.#options.onRefused({ id, reason });
  }

  hasFile(id: string): boolean {
    return this.#statements.inFile.get(id) !== undefined;
  }

  #whole(row: unknown): Stored | undefined {
    const stored = row ? this.head(row as HeadRow) : undefined;
    if (!stored) return undefined;
    const { seq, job } = stored;
    // An error of SQLite says nothing of the request: the caller gets the error.
    const found = this.#statements.request.get(seq) as { request: string } | undefined;
    try {
      job.request = parseRequest(found?.request ?? '');
    } catch (error) {
      if (!isEnd(job.state)) return this.#endWithoutRequest(stored, flawOf(error));
    }
    const result = this.#statements.result.get(seq) as { result: string | null } | undefined;
    try {
      if (result) job.result = parseResult(result.result ?? this.#options.files.read(job.id));
    } catch (error) {
      if (isUnreadFile(error)) throw error;
      job.notes = [...job.notes, `the result was lost: ${flawOf(error)}`];
    }
    return stored;
  }

  #endWithoutRequest(stored: Stored, flaw: string): Stored {
    const { id } = stored.job;
    this.#options.onRefused({ id, reason: `its request cannot be read: ${flaw}` });
    return this.put(stored, withoutRequest(stored.job, Date.now()));
  }

  #putResult(seq: number, job: Job): void {
    if (job.result === null) return;
    const text = JSON.stringify(job.result);
    const isLarge = Buffer.byteLength(text) > largestInRow;
    if (isLarge) this.#options.files.write(job.id, text);
    else if (this.hasFile(job.id)) this.#options.onFileUnused(job.id);
    this.#statements.putResult.run(seq, job.id, isLarge ? null : text);
    this.addBytes(seq, text.length);
  }

  /** Keeps `waits` right when a job enters or leaves the unfinished jobs of a session. */
  #order(seq: number, before: Job | undefined, after: Job): void {
    const was = before && blockingStates.includes(before.state) ? before.sessionId : null;
    const is = blockingStates.includes(after.state) ? after.sessionId : null;
    if (was === is) return;
    this.#wake(was, seq);
    const first = is === null ? undefined : this.#firstOf(is, seq);
    if (is === null || first === undefined) return void this.#statements.setWaits.run(0, seq);
    // A job that is run again by a person waits for the later job of its session that runs.
    const isBusy = this.#statements.runningOfSession.get(is, seq) !== undefined;
    const waits = first < seq || isBusy;
    this.#statements.setWaits.run(waits ? 1 : 0, seq);
    if (!waits) this.#statements.setWaits.run(1, first);
  }

  #wake(session: string | null, seq: number): void {
    // The end of the job that runs wakes the first one.
    if (session === null || this.#statements.runningOfSession.get(session, seq)) return;
    const first = this.#firstOf(session, seq);
    if (first !== undefined) this.#statements.setWaits.run(0, first);
  }

  #firstOf(session: string, but: number): number | undefined {
    const row = this.#statements.firstOfSession.get(session, but) as { seq: number } | undefined;
    return row?.seq;
  }
}

/** Prepares each statement once. */
export function prepareAll<K extends string>(
  db: DatabaseSync,
  texts: Record<K, string>,
): Record<K, StatementSync> {
  const entries = Object.entries<string>(texts).map(([name, text]) => [name, db.prepare(text)]);
  return Object.fromEntries(entries) as Record<K, StatementSync>;
}

/** Whether the file of a result cannot be read just now: the result is not lost. */
export function isUnreadFile(error: unknown): boolean {
  return error instanceof BerthError && error.code === 'volume_unwritable';
}

function columns(job: Job) {
  const { id, token, profile, state } = job;
  const dueAt = Math.ceil(job.dueAt);
  const callbackDue = callbackDueAt(job);
  return {
    id,
    token,
    profile,
    state,
    background: job.priority === 'background' ? 1 : 0,
    session: job.sessionId,
    immediate: dueAt <= job.createdAt ? 1 : 0,
    due_at: dueAt,
    expires_at: job.expiresAt === null ? null : Math.ceil(job.expiresAt),
    ended_at: job.endedAt === null ? null : Math.floor(job.endedAt),
    parked: job.parked?.reason ?? null,
    owner: job.owner,
    callback_due: callbackDue === undefined ? null : Math.ceil(callbackDue),
    job: headText(job),
  };
}
