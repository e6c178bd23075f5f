/**
 * Reads the jobs of a damaged file, and adds them to a new database.
 * Invariants: each job that can be read is saved, also behind a damaged page. What says nothing of the data, such as a full
 * disk or a lock, ends the salvage with an error: the salvage is to be repeated. An unfinished job whose request cannot be
 * read is saved as failed, so that its caller learns of the loss.
 */
import { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { isPassing } from '../../../shared/errors.ts';
import { isEnd, type Job } from '../job.ts';
import { type JobHead, parseHead, parseRequest, parseResult } from '../job-schema.ts';
import type { JobEvent, JobKey } from '../job-store.ts';
import { withoutRequest } from '../lost-request.ts';
import { eventSchema } from './history.ts';
import type { JobDatabase } from './job-database.ts';
import type { ResultFiles } from './result-files.ts';
import { storeError } from './store-error.ts';

export interface Salvage {
  /** Jobs that were saved. */
  saved: number;
  /** Unfinished jobs that were saved as failed, because their request was lost. */
  failed: number;
  /** Rows that are no jobs of berth. */
  refused: number;
}

/** So many rows that cannot be read are tried one after another; damaged pages hold a few dozen rows each. */
const mostFailures = 5_000;

const nextRow = 'SELECT seq, job FROM jobs WHERE seq >= ? ORDER BY seq LIMIT 1';
const jobRow = z.object({ seq: z.number(), job: z.string() });
const keyRow = z.object({ key: z.string(), digest: z.string() });

/** Primary result codes of SQLite that say nothing of the data: locked, without memory, full, without a free file handle. */
const passing: ReadonlySet<unknown> = new Set([5, 6, 7, 13, 14]);

/**
 * @param path the damaged file, with its write-ahead log beside it
 * @throws errors of SQLite and of the file system, after which `into` is incomplete
 */
export function salvage(path: string, into: JobDatabase, files: ResultFiles): Salvage {
  const made: Salvage = { saved: 0, failed: 0, refused: 0 };
  const from = attempt(() => openSource(path));
  if (!from) return made;
  try {
    for (const row of readableRows(from)) saveRow(from, row, into, files, made);
  } finally {
    from.close();
  }
  return made;
}

/** @throws Error if the file is not a database, or has no table of jobs: nothing can be read */
function openSource(path: string): DatabaseSync {
  const from = new DatabaseSync(path);
  try {
    from.exec(
      'PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF; PRAGMA query_only = ON',
    );
    from.prepare(nextRow);
    return from;
  } catch (error) {
    from.close();
    throw error;
  }
}

function saveRow(
  from: DatabaseSync,
  row: unknown,
  into: JobDatabase,
  files: ResultFiles,
  made: Salvage,
): void {
  const head = attempt(() => parseHead(jobRow.parse(row).job));
  if (!head) {
    made.refused += 1;
    return;
  }
  const { seq } = jobRow.parse(row);
  const job = complete(from, seq, head, files);
  const key = keyOf(from, seq);
  const events = eventsOf(from, seq);
  try {
    const isNew = into.transaction(false, () => {
      const known = into.read(head.id) !== undefined;
      if (!known) into.restore(job, key, events);
      return !known;
    });
    if (!isNew) return;
    made.saved += 1;
    if (job.state !== head.state) made.failed += 1;
  } catch (error) {
    // A job that breaks a constraint is a flaw of the damaged file.
    if (storeError(error, '').code !== 'internal') throw error;
    made.refused += 1;
  }
}

/** The job with its request and its result, as far as these can be read. */
function complete(from: DatabaseSync, seq: number, head: JobHead, files: ResultFiles): Job {
  const request = attempt(() => {
    const row = from.prepare('SELECT request FROM requests WHERE seq = ?').get(seq);
    return parseRequest(String(row?.request));
  });
  const result = attempt(() => {
    const row = from.prepare('SELECT result FROM results WHERE seq = ?').get(seq);
    if (!row) return null;
    return parseResult(typeof row.result === 'string' ? row.result : files.read(head.id));
  });
  const job: Job = { ...head, request: request ?? { prompt: '' }, result: result ?? null };
  if (head.state === 'succeeded' && !result) {
    job.notes = [...job.notes, 'the result was lost: the store of jobs was damaged'];
  }
  if (request || isEnd(job.state)) return job;
  return withoutRequest(job, Date.now());
}

function keyOf(from: DatabaseSync, seq: number): JobKey | undefined {
  return attempt(() => keyRow.parse(from.prepare('SELECT * FROM keys WHERE seq = ?').get(seq)));
}

function eventsOf(from: DatabaseSync, seq: number): JobEvent[] {
  const rows = attempt(() =>
    from.prepare('SELECT id, at, event, data FROM events WHERE seq = ? ORDER BY id').all(seq),
  );
  return (rows ?? []).flatMap((row) => attempt(() => eventSchema.parse(row)) ?? []);
}

/** All rows of the table of jobs that can be read; jumps over damaged pages. */
function* readableRows(from: DatabaseSync): Generator<unknown> {
  const next = from.prepare(nextRow);
  let seq = 0;
  let failures = 0;
  while (failures < mostFailures) {
    try {
      const row = next.get(seq);
      if (!row) return;
      yield row;
      seq = Number(row.seq) + 1;
    } catch (error) {
      if (saysNothingOfData(error)) throw error;
      failures += 1;
      seq += 1;
    }
  }
}

/** What `read` returns; undefined if the data is damaged. @throws what says nothing of the data */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (saysNothingOfData(error)) throw error;
    return undefined;
  }
}

function saysNothingOfData(error: unknown): boolean {
  const { errcode } = error as { errcode?: unknown };
  if (typeof errcode === 'number') return passing.has(errcode & 0xff);
  // A disk that cannot read a result at all must not stop the salvage of the jobs.
  return isPassing(error) || isPassing((error as Error).cause);
}
