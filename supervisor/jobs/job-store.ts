/**
 * The contract of the store of jobs. There are two stores: SQLite in berth's state on the volume, for one replica, and
 * Redis, for several. test/supervisor/jobs/store-contract.ts runs the same tests on both.
 * Invariants of every store: what `add` and `update` have returned survives the loss of the process at any moment. A job
 * is run by one owner at a time. Jobs of one session run in the order of their creation. Tokens take turns, and jobs of
 * priority `background` wait behind all others.
 */
import type { EndState, Job, JobState } from './job.ts';

/** The key of a request that must be accepted once. */
export interface JobKey {
  key: string;
  /** SHA-256 of the body. */
  digest: string;
}

export interface JobQuery {
  /** Only jobs of this token's name; undefined for all, for `berth jobs`. */
  token?: string | undefined;
  states?: readonly JobState[] | undefined;
  /** Only jobs that are parked for this reason. */
  parked?: string | undefined;
  profile?: string | undefined;
  /** All of these must be equal. */
  metadata?: Readonly<Record<string, string>> | undefined;
  /** Jobs per page. */
  limit: number;
  /** The cursor of the page before. */
  cursor?: string | undefined;
}

export interface JobPage {
  /** The newest first. Without the text of the request and without results. */
  jobs: Job[];
  /** For the next page; null on the last one. */
  cursor: string | null;
}

export interface JobEvent {
  /** From 1, without gaps within a job. */
  id: number;
  /** Milliseconds since 1970. */
  at: number;
  event: string;
  data: unknown;
}

export interface JobCounts {
  byState: Record<JobState, number>;
  /** Parked jobs by reason. */
  parked: Record<string, number>;
  /** When the oldest queued job was due, in milliseconds since 1970; null if none is queued. */
  oldestQueued: number | null;
  /** Callbacks to be delivered, and since when the oldest of them waits. */
  callbacks: { pending: number; oldest: number | null };
}

export interface PruneOptions {
  /** Remove jobs that ended before, in milliseconds since 1970. */
  endedBefore: number;
  /** Keep at most so many ended jobs, and so many bytes of them; the oldest go first. */
  mostJobs: number;
  mostBytes: number;
}

/** All methods reject with BerthError `job_store_unavailable` while the store cannot be reached or written. */
export interface JobStore {
  /**
   * Adds a job, durably.
   * @returns the job of an earlier request with the same key, if there is one
   * @throws BerthError `idempotency_mismatch` if the key was used with another digest, `jobs_full`; one token may have
   *   half of the unfinished jobs at most
   */
  add(job: Job, key?: JobKey): Promise<{ job: Job; created: boolean }>;
  /**
   * The job that was added with this key of the token.
   * @throws BerthError `idempotency_mismatch` if the key was used with another digest
   */
  findByKey(token: string, key: JobKey): Promise<Job | undefined>;
  /** The whole job. */
  read(id: string): Promise<Job | undefined>;
  /** The job as in a list: without the text of the request and without the result. For reads that are frequent. */
  readHead(id: string): Promise<Job | undefined>;
  list(query: JobQuery): Promise<JobPage>;
  /**
   * Replaces a job by what `change` makes of it, in one step, durably. `change` may be called again with a newer state of
   * the job. If it returns undefined, nothing is written.
   * @returns the job as it is in the store afterwards; undefined if there is no such job
   * @throws BerthError `jobs_full` if an ended job is to run again and there are too many unfinished ones
   */
  update(id: string, change: (job: Job) => Job | undefined): Promise<Job | undefined>;
  /**
   * Makes due `scheduled` and `parked` jobs `queued`, and jobs past their `expiresAt` `expired`. Call it every few seconds
   * while no job is claimed.
   */
  advance(now: number): Promise<void>;
  /**
   * Takes the next job that is due and makes it `running` with this owner and a new claim, after the changes
   * of `advance`.
   * @param accepts tokens and profiles for which the caller takes no job now are skipped by it
   */
  claim(
    owner: string,
    now: number,
    accepts?: (job: Pick<Job, 'token' | 'profile' | 'priority'>) => boolean,
  ): Promise<Job | undefined>;
  /** Reports that this owner is alive, by the clock of the store. Call it every few seconds while jobs run. */
  keepAlive(owner: string): Promise<void>;
  /**
   * Makes the jobs of owners that are gone `queued` again, with their session and prompt id, and counts the loss. Whether an owner is gone
   * does not depend on `now`, which is the time of the change.
   * @returns these jobs
   */
  reclaim(owner: string, now: number): Promise<Job[]>;
  /** Makes parked jobs with one of these reasons due at once, or within `spread` milliseconds at random. */
  unpark(reasons: readonly string[], now: number, spread: number): Promise<number>;
  /**
   * Takes the next callback that is due; it is not given again before `lease` milliseconds have passed.
   */
  claimCallback(now: number, lease: number): Promise<Job | undefined>;
  /** When `claim` or `claimCallback` may have something next, in milliseconds since 1970; undefined if unknown. */
  nextDue(now: number): Promise<{ job: number | undefined; callback: number | undefined }>;
  /** Appends to the history of a job, of which the newest 1,000 events are kept. */
  appendEvents(id: string, events: readonly Omit<JobEvent, 'id'>[]): Promise<void>;
  /** The events after that id, the oldest first. */
  events(id: string, after: number): Promise<JobEvent[]>;
  /** Removes an ended job. @returns false if there is none, or it has not ended */
  remove(id: string): Promise<boolean>;
  /** @returns the removed jobs */
  prune(options: PruneOptions): Promise<{ id: string; state: EndState }[]>;
  counts(now: number): Promise<JobCounts>;
  /** Called when there may be a new job, callback or event, also by another replica; `id` if known. */
  onChange(listener: (id?: string) => void): () => void;
  /** Called with each waiting job that a `claim` or `advance` of this replica has made `expired`. There is one listener at most. */
  onExpired(listener: (job: Job) => void): void;
  /** For /v1/status and doctor. */
  describe(): { kind: 'sqlite' | 'redis'; available: boolean; problem: string | null };
  close(): Promise<void>;
}
