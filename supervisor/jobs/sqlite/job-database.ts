/**
 * The jobs in a SQLite file: all operations of the store, without waiting. The thread of the store runs them.
 * Invariants: the file is locked for this process from its opening on, so that no second pod uses it. The shared memory
 * of WAL is not needed then. A damaged file is reported and not changed.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  openSync,
  statSync,
} from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { messageOf } from '../../../shared/errors.ts';
import { isEnd, type Job } from '../job.ts';
import { jobsFull, keyMismatch, mostOfOneToken } from '../job-bounds.ts';
import type { JobEvent, JobKey, JobQuery, PruneOptions } from '../job-store.ts';
import { Claims, type Lane } from './claims.ts';
import { History } from './history.ts';
import { JobRows, type Refusal } from './job-rows.ts';
import { Overview } from './overview.ts';
import { Pruning } from './prune.ts';
import { ResultFiles } from './result-files.ts';
import { foreignObjects, migrate, refuseNewer } from './schema.ts';

export interface DatabaseOptions {
  /** The file, whose directory exists. */
  path: string;
  /** The directory of large results. */
  results: string;
  /** The most jobs that have not ended. */
  most: number;
  onRefused?: (refusal: Refusal) => void;
}

/** Milliseconds for which a lock of another program is waited for. */
const lockTimeout = 250;

/** The file is damaged: it is to be set aside. */
export class DamagedFile extends Error {}

export class JobDatabase {
  readonly #db: DatabaseSync;
  readonly #path: string;
  readonly #most: number;
  readonly #files: ResultFiles;
  readonly #rows: JobRows;
  readonly #claims: Claims;
  readonly #history: History;
  readonly #overview: Overview;
  readonly #pruning: Pruning;
  /** The inodes of the file and of its write-ahead log. */
  readonly #places: string;
  /** Files whose rows are being removed. */
  #unused: string[] = [];

  /**
   * @throws DamagedFile
   * @throws BerthError `job_store_unavailable` if the version is newer, and errors of SQLite
   */
  constructor({ path, results, most, onRefused = () => {} }: DatabaseOptions) {
    this.#path = path;
    this.#most = most;
    this.#files = new ResultFiles(results);
    this.#db = openChecked(path);
    try {
      this.#rows = new JobRows(this.#db, {
        files: this.#files,
        onRefused,
        onFileUnused: (id) => void this.#unused.push(id),
      });
      this.#claims = new Claims(this.#db, this.#rows);
      this.#history = new History(this.#db, this.#rows);
      this.#overview = new Overview(this.#db, this.#rows);
      this.#pruning = new Pruning(this.#db, this.#rows);
      this.#places = placesOf(path);
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  /**
   * Runs operations in one transaction.
   * @param isDurable whether the changes must survive a power cut when this function returns
   */
  transaction<T>(isDurable: boolean, work: () => T): T {
    this.#unused = [];
    this.#db.exec(`PRAGMA synchronous = ${isDurable ? 'FULL' : 'NORMAL'}`);
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      const made = work();
      this.#db.exec('COMMIT');
      this.#removeUnused();
      return made;
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      throw error;
    }
  }

  /** Never throws: the rows are gone, and a file that stays is swept at the next opening. */
  #removeUnused(): void {
    for (const id of this.#unused) {
      try {
        this.#files.remove(id);
      } catch {}
    }
  }

  /** Undoes the changes of `work` alone if it fails, if SQLite can: see `isOpen`. */
  separately<T>(work: () => T): T {
    this.#db.exec('SAVEPOINT one');
    try {
      const made = work();
      this.#db.exec('RELEASE one');
      return made;
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK TO one; RELEASE one');
      throw error;
    }
  }

  /** False after an error with which SQLite undid the whole transaction, such as a full disk. */
  get isInTransaction(): boolean {
    return this.#db.isTransaction;
  }

  add(job: Job, key?: JobKey): { job: Job; created: boolean } {
    const earlier = key && this.findByKey(job.token, key);
    if (earlier) return { job: earlier, created: false };
    this.#requireRoom(job);
    return { job: this.#rows.insert(job, key).job, created: true };
  }

  /** @throws BerthError `jobs_full` if the job may not be one more that has not ended */
  #requireRoom({ token }: Job): void {
    if (this.#overview.unfinished() >= this.#most) throw jobsFull(this.#most);
    const mostOfToken = mostOfOneToken(this.#most);
    if (this.#overview.unfinished(token) >= mostOfToken) throw jobsFull(mostOfToken, token);
  }

  findByKey(token: string, { key, digest }: JobKey): Job | undefined {
    const earlier = this.#rows.byKey(token, key);
    if (earlier && earlier.digest !== digest) throw keyMismatch(earlier.stored.job.id);
    return earlier?.stored.job;
  }

  read(id: string): { job: Job; version: number } | undefined {
    return this.#rows.byId(id);
  }

  readHead(id: string): Job | undefined {
    return this.#rows.headById(id)?.job;
  }

  /** @returns false if the job has changed since that version */
  replace(job: Job, version: number): boolean {
    const before = this.#rows.byId(job.id);
    if (before?.version !== version) return false;
    if (isEnd(before.job.state) && !isEnd(job.state)) this.#requireRoom(job);
    this.#rows.put(before, job);
    return true;
  }

  remove(id: string): boolean {
    const stored = this.#rows.headById(id);
    if (!stored || !isEnd(stored.job.state)) return false;
    this.#rows.remove(stored);
    return true;
  }

  advance(now: number): Job[] {
    return this.#claims.advance(now);
  }

  lanes(now: number): Lane[] {
    return this.#claims.lanes(now);
  }

  claim(owner: string, now: number, lanes: readonly Lane[]): Job | undefined {
    return this.#claims.claim(owner, now, lanes);
  }

  reclaim(owner: string, now: number): Job[] {
    return this.#claims.reclaim(owner, now);
  }

  unpark(reasons: readonly string[], now: number, spread: number): string[] {
    return this.#claims.unpark(reasons, now, spread);
  }

  claimCallback(now: number, lease: number): Job | undefined {
    return this.#claims.claimCallback(now, lease);
  }

  nextDue(now: number): ReturnType<Claims['nextDue']> {
    return this.#claims.nextDue(now);
  }

  appendEvents(id: string, events: readonly Omit<JobEvent, 'id'>[]): void {
    this.#history.append(id, events);
  }

  events(id: string, after: number): JobEvent[] {
    return this.#history.after(id, after);
  }

  list(query: JobQuery): ReturnType<Overview['list']> {
    return this.#overview.list(query);
  }

  counts(): ReturnType<Overview['counts']> {
    return this.#overview.counts();
  }

  prune(options: PruneOptions): ReturnType<Pruning['step']> {
    return this.#pruning.step(options);
  }

  /** Returns free pages to the file system. Not within a transaction. */
  shrink(): void {
    this.#db.exec('PRAGMA incremental_vacuum(2000)');
  }

  /** Removes files of results without a job. */
  sweep(): void {
    this.#files.sweep((id) => this.#rows.hasFile(id));
  }

  /** Adds a job of a damaged file, with the ids of its events. */
  restore(job: Job, key: JobKey | undefined, events: readonly JobEvent[]): void {
    this.#rows.insert(job, key);
    this.#history.restore(job.id, events);
  }

  /** False if a tool has removed or replaced the files: what is written now would be lost. */
  get isInPlace(): boolean {
    return placesOf(this.#path) === this.#places;
  }

  /** Moves all content of the write-ahead log to the file. Not within a transaction. */
  checkpoint(): void {
    this.#db.exec('PRAGMA synchronous = FULL');
    this.#db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  }

  /** Writes a complete, durable copy to a path where nothing is. Not within a transaction. */
  copyTo(path: string): void {
    this.#db.prepare('VACUUM INTO ?').run(path);
    const file = openSync(path, 'r');
    try {
      fchmodSync(file, 0o600);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  }

  close(): void {
    this.#db.close();
  }
}

function placesOf(path: string): string {
  const places = [path, `${path}-wal`].map(
    (each) => statSync(each, { throwIfNoEntry: false })?.ino,
  );
  return places.join(' ');
}

/** Creates the file if it is absent: SQLite itself would create it with the permissions of the umask. */
function makePrivate(path: string): void {
  const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  const file = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  try {
    if (!fstatSync(file).isFile()) throw new DamagedFile(`${path} is not a regular file`);
    fchmodSync(file, 0o600);
  } finally {
    closeSync(file);
  }
}

function openChecked(path: string): DatabaseSync {
  makePrivate(path);
  const db = new DatabaseSync(path, { timeout: lockTimeout });
  try {
    prepareFile(db, path);
    return db;
  } catch (error) {
    db.close();
    throw isDamage(error) ? new DamagedFile(messageOf(error), { cause: error }) : error;
  }
}

function prepareFile(db: DatabaseSync, path: string): void {
  db.exec(
    `PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON`,
  );
  refuseNewer(db, path);
  db.exec(`PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    PRAGMA journal_size_limit = 16777216; PRAGMA temp_store = MEMORY; BEGIN IMMEDIATE; COMMIT`);
  migrate(db, path);
  const [check] = db.prepare('PRAGMA quick_check(1)').all();
  const found = String(Object.values(check ?? {})[0] ?? 'no answer');
  if (found !== 'ok') throw new DamagedFile(found);
  const foreign = foreignObjects(db);
  if (foreign !== undefined) throw new DamagedFile(foreign);
}

function isDamage(error: unknown): boolean {
  const { errcode } = error as { errcode?: unknown };
  const code = typeof errcode === 'number' ? errcode & 0xff : undefined;
  return error instanceof DamagedFile || code === 11 || code === 26;
}
