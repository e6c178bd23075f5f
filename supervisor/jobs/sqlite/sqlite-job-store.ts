/**
 * The store of jobs in a SQLite file in berth's state on the volume, for one replica.
 * Invariants: the store opens its file by itself, and again after a failure; until then every call rejects with the cause.
 * Without a file there is no job, and the first job makes the file.
 * Only one process has the file open, so every other owner of a running job is gone.
 */
import { access, constants } from 'node:fs/promises';
import { releaseReserve } from '../../../shared/disk-reserve.ts';
import { asBerthError, BerthError } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';
import type { EndState, Job } from '../job.ts';
import type { JobEvent, JobKey, JobQuery, JobStore, PruneOptions } from '../job-store.ts';
import { emptyAnswers, isEmpty } from './empty-store.ts';
import { openFile } from './open-file.ts';
import type { Calls, Notice } from './protocol.ts';
import { ThreadClient } from './thread-client.ts';

export interface SqliteJobStoreOptions {
  /** berth's state on the volume. */
  stateDirectory: string;
  /** The most jobs that have not ended; further ones are refused with `jobs_full`. */
  most: number;
  log: Log;
  /** A thread that several stores use, one after another; by default the store has a thread of its own. */
  client?: ThreadClient;
}

/** Milliseconds between two attempts to open the file. */
const pause = 1_000;

/** Calls whose success shows that the disk takes data. On a full disk, all other calls may succeed. */
const writes: ReadonlySet<keyof Calls> = new Set(['add', 'replace', 'appendEvents', 'remove']);
/** Milliseconds after the last failed write, after which a read ends the failure too: no write may follow for long. */
const quiet = 30_000;

/**
 * Opens the store of jobs in `jobs.sqlite`. Never rejects: a store that cannot be opened says why in `describe` and in
 * each error, and is opened as soon as possible. Call this with the lease on the volume.
 */
export async function openJobStore(options: SqliteJobStoreOptions): Promise<JobStore> {
  const store = new SqliteJobStore(options);
  await store.open();
  return store;
}

class SqliteJobStore implements JobStore {
  readonly #options: SqliteJobStoreOptions;
  readonly #client: ThreadClient;
  readonly #listeners = new Set<(id?: string) => void>();
  #onExpired: (job: Job) => void = () => {};
  #opening: Promise<void> | undefined;
  #isOpen = false;
  /** Whether there is no file yet. */
  #isEmpty = false;
  #isClosed = false;
  #problem: BerthError | undefined;
  /** When the file may be opened again, by the monotonic clock. */
  #nextAttempt = 0;
  /** The time of the last failure, by the monotonic clock. */
  #failedAt = 0;

  constructor(options: SqliteJobStoreOptions) {
    this.#options = options;
    this.#client = options.client ?? new ThreadClient();
    this.#client.onNotice = (notice) => this.#logNotice(notice);
  }

  async open(): Promise<void> {
    this.#isEmpty = await isEmpty(this.#options.stateDirectory);
    if (this.#isEmpty) return;
    await this.#ready().catch(() => undefined);
  }

  async add(job: Job, key?: JobKey) {
    const added = await this.#call('add', job, key);
    if (added.created) this.#changed(job.id);
    return added;
  }

  findByKey(token: string, key: JobKey) {
    return this.#call('findByKey', token, key);
  }

  async read(id: string) {
    return (await this.#call('read', id))?.job;
  }

  readHead(id: string) {
    return this.#call('readHead', id);
  }

  list(query: JobQuery) {
    return this.#call('list', query);
  }

  async update(id: string, change: (job: Job) => Job | undefined) {
    for (;;) {
      const found = await this.#call('read', id);
      if (!found) return undefined;
      const job = change(structuredClone(found.job));
      if (!job) return found.job;
      if (await this.#replace(job, found.version)) {
        this.#changed(id);
        return job;
      }
    }
  }

  async advance(now: number) {
    for (const job of await this.#call('advance', now)) {
      if (job.state === 'expired') this.#onExpired(job);
      this.#changed(job.id);
    }
  }

  async claim(
    owner: string,
    now: number,
    accepts?: (job: Pick<Job, 'token' | 'profile' | 'priority'>) => boolean,
  ) {
    await this.advance(now);
    const lanes = await this.#call('lanes', now);
    const wanted = accepts ? lanes.filter(accepts) : lanes;
    if (wanted.length === 0) return undefined;
    const job = await this.#call('claim', owner, now, wanted);
    if (job) this.#changed(job.id);
    return job;
  }

  /** Nothing to do: this process alone has the file open. */
  async keepAlive() {}

  async reclaim(owner: string, now: number) {
    const jobs = await this.#call('reclaim', owner, now);
    for (const { id } of jobs) this.#changed(id);
    return jobs;
  }

  async unpark(reasons: readonly string[], now: number, spread: number) {
    const ids = await this.#call('unpark', reasons, now, spread);
    for (const id of ids) this.#changed(id);
    return ids.length;
  }

  claimCallback(now: number, lease: number) {
    return this.#call('claimCallback', now, lease);
  }

  nextDue(now: number) {
    return this.#call('nextDue', now);
  }

  async appendEvents(id: string, events: readonly Omit<JobEvent, 'id'>[]) {
    await this.#call('appendEvents', id, events);
    this.#changed(id);
  }

  events(id: string, after: number) {
    return this.#call('events', id, after);
  }

  async remove(id: string) {
    const removed = await this.#call('remove', id);
    if (removed) this.#changed(id);
    return removed;
  }

  async prune(options: PruneOptions) {
    const removed: { id: string; state: EndState }[] = [];
    for (;;) {
      const step = await this.#call('prune', options);
      removed.push(...step.removed);
      if (step.isDone) break;
    }
    if (removed.length > 0) await this.#call('shrink');
    return removed;
  }

  counts() {
    return this.#call('counts');
  }

  onChange(listener: (id?: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  onExpired(listener: (job: Job) => void): void {
    this.#onExpired = listener;
  }

  describe() {
    const problem = this.#problem?.message ?? null;
    const available = (this.#isOpen || this.#isEmpty) && problem === null;
    return { kind: 'sqlite' as const, available, problem };
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#listeners.clear();
    await this.#opening?.catch(() => undefined);
    if (!this.#isEmpty) await this.#client.call('close').catch(() => undefined);
    if (!this.#options.client) await this.#client.end();
    this.#isOpen = false;
  }

  /** The end of a job is written also on a full disk, if berth's reserve has room for it. */
  async #replace(job: Job, version: number): Promise<boolean> {
    try {
      return await this.#call('replace', job, version);
    } catch (error) {
      if (reasonOf(error) !== 'full' || !releaseReserve()) throw error;
      return await this.#call('replace', job, version);
    }
  }

  async #call<K extends keyof Calls>(
    name: K,
    ...args: Parameters<Calls[K]>
  ): Promise<Awaited<ReturnType<Calls[K]>>> {
    const answer = emptyAnswers[name];
    if (this.#isEmpty && !this.#isClosed && answer) {
      return answer() as Awaited<ReturnType<Calls[K]>>;
    }
    this.#isEmpty = false;
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#ready();
        const value = await this.#client.call(name, ...args);
        if (writes.has(name) || !(await this.#failsToWrite())) this.#recovered();
        return value as Awaited<ReturnType<Calls[K]>>;
      } catch (error) {
        const failure = asBerthError(error);
        const reason = reasonOf(failure);
        // The thread has closed the file: the next attempt saves what can be read.
        if (reason === 'damaged' || reason === 'closed') this.#isOpen = false;
        if (reason === 'damaged' && attempt === 1 && !this.#isClosed) continue;
        if (failure.code === 'job_store_unavailable') this.#failed(failure);
        throw failure;
      }
    }
  }

  async #ready(): Promise<void> {
    if (this.#isClosed) throw closed();
    if (this.#isOpen) return;
    if (this.#opening) return this.#opening;
    if (this.#problem && performance.now() < this.#nextAttempt) throw this.#problem;
    this.#opening = this.#open();
    try {
      await this.#opening;
    } finally {
      this.#opening = undefined;
    }
  }

  async #open(): Promise<void> {
    try {
      await openFile({ ...this.#options, client: this.#client });
      this.#isOpen = true;
      this.#recovered();
    } catch (error) {
      const failure = unavailable(error);
      this.#nextAttempt = performance.now() + pause;
      this.#failed(failure);
      throw failure;
    }
  }

  #failed(failure: BerthError): void {
    const isNew = this.#problem === undefined;
    this.#problem = failure;
    this.#failedAt = performance.now();
    if (isNew && !this.#isClosed) {
      this.#options.log.error('job_store_unavailable', failure.message, {
        reason: failure.details.reason,
      });
    }
  }

  /** Whether a read that succeeds shows nothing: writes have just failed, or the volume is still read-only. */
  async #failsToWrite(): Promise<boolean> {
    const reason = reasonOf(this.#problem);
    const isOfWrites = reason === 'full' || reason === 'read_only';
    if (isOfWrites && performance.now() < this.#failedAt + quiet) return true;
    if (reason !== 'read_only') return false;
    return access(this.#options.stateDirectory, constants.W_OK).then(
      () => false,
      () => true,
    );
  }

  #recovered(): void {
    if (!this.#problem) return;
    this.#problem = undefined;
    this.#options.log.info('job_store_recovered', 'the store of jobs can be used again');
  }

  #logNotice(notice: Notice): void {
    const { log } = this.#options;
    if (notice.kind === 'moved') {
      const text = 'the file of the jobs had been removed or replaced, and was written again';
      log.warn('volume_repaired', text, { path: this.#options.stateDirectory, why: 'jobs.sqlite' });
      return;
    }
    const { id, reason } = notice.refusal;
    log.error('job_refused', `a stored job cannot be used: ${reason}`, {
      job_id: id,
    });
  }

  #changed(id: string): void {
    for (const listener of this.#listeners) listener(id);
  }
}

function reasonOf(error: unknown): unknown {
  return error instanceof BerthError ? error.details.reason : undefined;
}

function unavailable(error: unknown): BerthError {
  const failure = asBerthError(error);
  if (failure.code === 'job_store_unavailable') return failure;
  return new BerthError('job_store_unavailable', failure.message, {
    cause: error,
    details: failure.details,
  });
}

function closed(): BerthError {
  return new BerthError(
    'job_store_unavailable',
    'cannot use the jobs on the volume: the store is closed; retry after the restart',
    { details: { reason: 'closed' } },
  );
}
