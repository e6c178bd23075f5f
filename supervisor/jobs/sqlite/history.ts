/**
 * The events of jobs.
 * Invariants: ids begin at 1 and have no gaps within a job. Of each job the newest 1,000 events are kept.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { z } from 'zod';
import type { JobEvent } from '../job-store.ts';
import { type JobRows, prepareAll } from './job-rows.ts';

export const eventsKept = 1_000;

const sql = {
  seqOf: 'SELECT seq FROM jobs WHERE id = ?',
  last: 'SELECT max(id) AS id FROM events WHERE seq = ?',
  insert: 'INSERT INTO events (seq, id, at, event, data) VALUES (?, ?, ?, ?, ?)',
  old: 'SELECT sum(length(data)) AS bytes FROM events WHERE seq = ? AND id <= ?',
  deleteOld: 'DELETE FROM events WHERE seq = ? AND id <= ?',
  after: 'SELECT id, at, event, data FROM events WHERE seq = ? AND id > ? ORDER BY id',
};

export const eventSchema = z.object({
  id: z.number(),
  at: z.number(),
  event: z.string(),
  data: z.string().transform((text): unknown => JSON.parse(text)),
});

export class History {
  readonly #rows: JobRows;
  readonly #statements: Record<keyof typeof sql, StatementSync>;

  constructor(db: DatabaseSync, rows: JobRows) {
    this.#rows = rows;
    this.#statements = prepareAll(db, sql);
  }

  append(jobId: string, events: readonly Omit<JobEvent, 'id'>[]): void {
    const seq = this.#seqOf(jobId);
    if (seq === undefined) return;
    const { last, insert, old, deleteOld } = this.#statements;
    let id = Number(last.get(seq)?.id ?? 0);
    let bytes = 0;
    for (const { at, event, data } of events) {
      const text = JSON.stringify(data ?? null);
      insert.run(seq, ++id, Math.floor(at), event, text);
      bytes += text.length;
    }
    const tooOld = id - eventsKept;
    if (tooOld > 0) {
      bytes -= Number(old.get(seq, tooOld)?.bytes ?? 0);
      deleteOld.run(seq, tooOld);
    }
    this.#rows.addBytes(seq, bytes);
  }

  /** Adds events with their ids to a job that has none. */
  restore(jobId: string, events: readonly JobEvent[]): void {
    const seq = this.#seqOf(jobId);
    if (seq === undefined) return;
    let bytes = 0;
    for (const { id, at, event, data } of events) {
      const text = JSON.stringify(data ?? null);
      this.#statements.insert.run(seq, id, Math.floor(at), event, text);
      bytes += text.length;
    }
    this.#rows.addBytes(seq, bytes);
  }

  /** A row that is no event is left out. */
  after(jobId: string, after: number): JobEvent[] {
    const seq = this.#seqOf(jobId);
    if (seq === undefined) return [];
    return this.#statements.after.all(seq, after).flatMap((row) => {
      try {
        return eventSchema.parse(row);
      } catch {
        return [];
      }
    });
  }

  #seqOf(jobId: string): number | undefined {
    return this.#statements.seqOf.get(jobId)?.seq as number | undefined;
  }
}
