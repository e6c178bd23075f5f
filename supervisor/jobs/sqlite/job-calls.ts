/**
 * Runs the calls of the store on the database: see job-thread.ts.
 * Invariants: calls that wait together share one transaction, and so one flush of the disk. A call is answered after its
 * commit. A call that fails changes nothing, and does not disturb the others. No call runs again after its commit. Nothing
 * is answered that is only in a file which a tool has removed: the jobs are written to a new file first.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { BerthError } from '../../../shared/errors.ts';
import { DamagedFile, JobDatabase } from './job-database.ts';
import {
  type Call,
  type Notice,
  type Opened,
  type OpenOptions,
  type Operation,
  operations,
  type Reply,
  successorOf,
} from './protocol.ts';
import { rescue } from './rescue.ts';
import type { Salvage } from './salvage.ts';
import { storeError } from './store-error.ts';

export class JobCalls {
  readonly #notify: (notice: Notice) => void;
  #options: OpenOptions | undefined;
  #database: JobDatabase | undefined;

  constructor(notify: (notice: Notice) => void) {
    this.#notify = notify;
  }

  /** Runs calls in their order: those on the database together, the others alone. */
  run(calls: readonly Call[]): Reply[] {
    const replies: Reply[] = [];
    let together: Call[] = [];
    for (const call of calls) {
      if (isOperation(call.name)) {
        together.push(call);
        continue;
      }
      replies.push(...this.#together(together), this.#alone(call));
      together = [];
    }
    return [...replies, ...this.#together(together)];
  }

  #together(calls: readonly Call[]): Reply[] {
    if (calls.length === 0) return [];
    let isCommitted = false;
    try {
      const database = this.#opened();
      const isDurable = calls.some(({ name }) => isOperation(name) && operations[name]);
      const replies = database.transaction(isDurable, () =>
        calls.map((call) =>
          calls.length === 1 ? replyOf(database, call) : this.#one(database, call),
        ),
      );
      isCommitted = true;
      if (!database.isInPlace) this.#putBack(database);
      return replies;
    } catch (error) {
      // SQLite has undone all of them, as on a full disk: each runs alone now.
      if (calls.length > 1 && !isCommitted) return calls.flatMap((call) => this.#together([call]));
      return calls.map(({ id }) => this.#failure(id, error));
    }
  }

  #one(database: JobDatabase, call: Call): Reply {
    try {
      return database.separately(() => replyOf(database, call));
    } catch (error) {
      if (!database.isInTransaction) throw error;
      return this.#failure(call.id, error);
    }
  }

  #alone({ id, name, args }: Call): Reply {
    try {
      if (name === 'open') return { id, value: this.#open(args[0] as OpenOptions) };
      if (name === 'rescue') return { id, value: this.#rescue(args[0] as OpenOptions) };
      if (name === 'shrink') this.#opened().shrink();
      if (name === 'close') this.#close();
      return { id, value: undefined };
    } catch (error) {
      return this.#failure(id, error);
    }
  }

  #failure(id: number, error: unknown): Reply {
    const { code, message, details } = storeError(error, this.#options?.path ?? '');
    if (details.reason === 'damaged') this.#close();
    return { id, error: { code, message, details } };
  }

  #opened(): JobDatabase {
    if (this.#database) return this.#database;
    throw new BerthError(
      'job_store_unavailable',
      `cannot use the jobs in ${this.#options?.path}: the file is not open; retry`,
      { details: { reason: 'closed' } },
    );
  }

  #open(options: OpenOptions): Opened {
    this.#close();
    this.#options = options;
    try {
      this.#database = this.#made(options);
    } catch (error) {
      if (error instanceof DamagedFile) return { kind: 'damaged', reason: error.message };
      throw error;
    }
    this.#database.sweep();
    return { kind: 'open' };
  }

  #rescue(options: OpenOptions): Salvage {
    this.#close();
    this.#options = options;
    return rescue(options);
  }

  #made({ path, results, most }: OpenOptions): JobDatabase {
    const onRefused = (refusal: { id: string; reason: string }): void =>
      this.#notify({ kind: 'refused', refusal });
    return new JobDatabase({ path, results, most, onRefused });
  }

  /** Writes the jobs to a new file at the path, from the file that this process still has open. */
  #putBack(database: JobDatabase): void {
    const options = this.#options as OpenOptions;
    const { path } = options;
    const suffix = randomBytes(4).toString('hex');
    const copy = `${path}.${suffix}.tmp`;
    const successor = successorOf(path);
    try {
      database.copyTo(copy);
      // From here on, the next opening would complete what a kill interrupts.
      renameSync(copy, successor);
      for (const found of [path, `${path}-wal`]) {
        if (existsSync(found)) renameSync(found, `${found}.aside-${suffix}`);
      }
      this.#close();
      renameSync(successor, path);
      this.#database = this.#made(options);
      this.#notify({ kind: 'moved' });
    } finally {
      rmSync(copy, { force: true });
    }
  }

  #close(): void {
    const database = this.#database;
    this.#database = undefined;
    database?.close();
  }
}

function isOperation(name: string): name is Operation {
  return Object.hasOwn(operations, name);
}

function replyOf(database: JobDatabase, { id, name, args }: Call): Reply {
  const operation = database[name as Operation] as (...given: unknown[]) => unknown;
  return { id, value: operation.apply(database, args) };
}
