/**
 * Reads the jobs of a damaged file that was set aside, and adds them to a new database.
 * Invariants: each job that can be read is saved, also behind a damaged page. An unfinished job whose request cannot be
 * read is saved as failed, so that its caller learns of the loss.
 */
import { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { become, isEnd, type Job } from '../job.ts';
import { type JobHead, parseHead, parseRequest, parseResult } from '../job-schema.ts';
import type { JobEvent, JobKey } from '../job-store.ts';
import { eventSchema } from './history.ts';
import type { JobDatabase } from './job-database.ts';
import type { ResultFiles } from './result-files.ts';

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

const jobRow = z.object({ seq: z.number(), job: z.string() });
const keyRow = z.object({ key: z.string(), digest: z.string() });

/** @param path the damaged file, with its write-ahead log beside it */
export function salvage(path: string, into: JobDatabase, files: ResultFiles): Salvage {
  const made: Salvage = { saved: 0, failed: 0, refused: 0 };
  let from: DatabaseSync | undefined;
  try {
    from = new DatabaseSync(path);
    from.exec(
      'PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF; PRAGMA query_only = ON',
    );
    for (const row of readableRows(from)) saveRow(from, row, into, files, made);
  } catch {
    // Not a database, or without the table of jobs: nothing more can be read.
  } finally {
    from?.close();
  }
  return made;
}

function saveRow(
  from: DatabaseSync,
  row: unknown,
  into: JobDatabase,
  files: ResultFiles,
  made: Salvage,
): void {
  try {
    const { seq, job: text } = jobRow.parse(row);
    const head = parseHead(text);
    const job = complete(from, seq, head, files);
    if (into.read(head.id)) return;
    into.restore(job, keyOf(from, seq), eventsOf(from, seq));
    made.saved += 1;
    if (job.state !== head.state) made.failed += 1;
  } catch {
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
  return become(job, 'failed', Date.now(), {
    error: {
      code: 'job_store_unavailable',
      detail: `cannot run ${job.id}: its prompt was lost when the store of jobs was damaged; send the job again`,
    },
  });
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
  const next = from.prepare('SELECT seq, job FROM jobs WHERE seq >= ? ORDER BY seq LIMIT 1');
  let seq = 0;
  let failures = 0;
  while (failures < mostFailures) {
    try {
      const row = next.get(seq);
      if (!row) return;
      yield row;
      seq = Number(row.seq) + 1;
    } catch {
      failures += 1;
      seq += 1;
    }
  }
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
