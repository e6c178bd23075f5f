/**
 * Runs the jobs of the store: takes the next one while there is room, and unparks jobs when a limit has ended.
 * Invariants: at most `workers` jobs run here at once, and a job never runs twice at once here. An error of the store only delays jobs. After `drain` no job is
 * taken; after `stop` none runs, and each job that has run is stored, if the store can be written. A job that the store
 * has given to this replica, and that does not run here, is queued again.
 */
import { backoff } from '../../shared/backoff.ts';
import { asBerthError, BerthError } from '../../shared/errors.ts';
import { pause, within } from '../../shared/waiting.ts';
import { Wake } from '../../shared/wake.ts';
import { become, isEnd, type Job } from './job.ts';
import { stateEvent } from './job-events.ts';
import type { JobStore } from './job-store.ts';
import { wakeLateByClock } from './late-by-clock.ts';
import { ParkingEnds } from './parking-ends.ts';
import { JobRun, type RunOptions } from './run-job.ts';

export interface RunnerOptions extends Omit<RunOptions, 'store' | 'closing'> {
  store: JobStore;
  /** Jobs that run at once. */
  workers: number;
  /** Called for each job that expired while it waited. */
  onExpired?: (() => void) | undefined;
}

/** Milliseconds. */
const second = 1_000;
/** Without a sign of a new job the store is read that often: another replica may have added one. */
const longestIdle = 5 * second;
const signOfLife = 5 * second;
const betweenReclaims = 15 * second;
const betweenClockChecks = 600 * second;
/** Running jobs of all replicas that are read in one step. */
const pageSize = 200;
/** A place is free again only after this pause, if its job was parked: many jobs may meet the same limit. */
const afterParking = 200;
/** The end of an earlier run of a job, before the job runs again. */
const longestOverlap = 60 * second;
/** The end of the runs after the drain, and then the tries to store them. */
const longestEnd = 5 * second;
const unavailable = { first: 200, longest: 10 * second, jitter: 0.3 };

export class JobRunner {
  readonly #options: RunnerOptions;
  /** The newest run of each job. */
  readonly #runs = new Map<string, JobRun>();
  /** The ends of all runs: a job may run again while its last run still ends. */
  readonly #done = new Set<Promise<void>>();
  readonly #draining = new AbortController();
  readonly #closing = new AbortController();
  readonly #parkingEnds: ParkingEnds;
  readonly #wake = new Wake();
  #beat: NodeJS.Timeout | undefined;
  #unwatch: () => void = () => {};
  #reclaimed = Number.NEGATIVE_INFINITY;
  #clockChecked = Number.NEGATIVE_INFINITY;
  #loop: Promise<void> = Promise.resolve();

  constructor(options: RunnerOptions) {
    this.#options = options;
    const { store, now } = options;
    this.#parkingEnds = new ParkingEnds({ store, now, onDue: () => this.#wake.wake() });
  }

  /** Jobs that run here. */
  get running(): number {
    return this.#done.size;
  }

  /** Runs that need a place: a turn that waits for an approval gives its place to another job. */
  get #busy(): number {
    const waiting = [...this.#runs.values()].filter(({ waits }) => waits).length;
    return this.#done.size - waiting;
  }

  start(): void {
    if (this.#draining.signal.aborted) return;
    this.#unwatch = this.#options.store.onChange((id) => this.#changed(id));
    this.#options.store.onExpired((job) => this.#expired(job));
    this.#beat = setInterval(() => void this.#tick(), signOfLife);
    this.#loop = this.#work();
  }

  /** Interrupts the prompt of a job that was cancelled in the store. */
  cancelled(id: string): void {
    this.#runs
      .get(id)
      ?.interrupt(new BerthError('interrupted', `cannot finish ${id}: it was cancelled`));
  }

  /**
   * Makes parked jobs due that wait for one of these reasons; if the store cannot be used, as soon as it can. A job that
   * runs now and is parked for one of them is due at once.
   * @param spread milliseconds over which they become due
   * @param onDone called when they are due
   */
  unpark(reasons: readonly string[], spread = 0, onDone?: () => void): Promise<void> {
    return this.#parkingEnds.report(reasons, spread, onDone);
  }

  /** Takes no more jobs. */
  drain(): void {
    this.#draining.abort();
    this.#wake.wake();
  }

  /** Call it when the prompts have ended. Resolves when their jobs are stored, or after some seconds. */
  async stop(): Promise<void> {
    this.drain();
    clearInterval(this.#beat);
    this.#unwatch();
    await this.#loop;
    await within(Promise.all(this.#done), longestEnd);
    const reason = new BerthError('draining', 'cannot finish the job: the server is stopping');
    for (const run of this.#runs.values()) run.interrupt(reason);
    this.#closing.abort(reason);
    await within(Promise.all(this.#done), longestEnd);
  }

  async #work(): Promise<void> {
    let failures = 0;
    while (!this.#draining.signal.aborted) {
      this.#wake.clear();
      try {
        await this.#reclaim();
        await this.#checkClock();
        if (await this.#take()) continue;
        failures = 0;
        await this.#wake.wait(await this.#idleTime());
      } catch (thrown) {
        const { code } = asBerthError(thrown);
        failures += 1;
        // The store may have made a claim whose answer was lost.
        this.#reclaimed = Number.NEGATIVE_INFINITY;
        if (code !== 'job_store_unavailable') this.#failed(thrown);
        await pause(backoff(failures, unavailable), this.#draining.signal);
      }
    }
  }

  /** @returns whether there may be room for another job */
  async #take(): Promise<boolean> {
    const { store, owner, now, workers } = this.#options;
    if (this.#busy >= workers) {
      // Jobs that wait for a place may expire meanwhile, and parked jobs become due.
      await store.advance(now());
      return false;
    }
    const began = performance.now();
    const job = await store.claim(owner, now());
    if (job) this.#run(job, began);
    return job !== undefined;
  }

  /** @param began by performance.now() */
  #run(job: Job, began: number): void {
    const closing = this.#closing.signal;
    const { onRun } = this.#options;
    let parked: Job | undefined;
    const run = new JobRun(
      {
        ...this.#options,
        closing,
        onRun: (ended, outcome) => {
          if (ended.state === 'parked') parked = ended;
          onRun?.(ended, outcome);
        },
      },
      job,
    );
    const earlier = this.#runs.get(job.id);
    this.#runs.set(job.id, run);
    const done = this.#endOf(earlier, job.id)
      .then(() => run.run())
      .catch((error: unknown) => this.#failed(error))
      .then(() => parked && this.#rest(parked, began))
      .finally(() => {
        if (this.#runs.get(job.id) === run) this.#runs.delete(job.id);
        this.#done.delete(done);
        this.#wake.wake();
      });
    this.#done.add(done);
  }

  /** What the job was parked for may have ended while it ran. */
  async #rest(parked: Job, began: number): Promise<void> {
    await this.#parkingEnds.parkedAfterRun(parked, began);
    await pause(afterParking, this.#draining.signal);
  }

  /** Ends a run of a job that was taken from it, for lack of a sign of life, and is to run here again. */
  async #endOf(run: JobRun | undefined, id: string): Promise<void> {
    if (!run) return;
    run.interrupt(new BerthError('interrupted', `cannot finish ${id}: the job runs again`));
    await within(run.ended, longestOverlap, this.#closing.signal);
  }

  async #idleTime(): Promise<number> {
    const { store, now, workers } = this.#options;
    if (this.#busy >= workers) return longestIdle;
    const { job } = await store.nextDue(now());
    if (job === undefined) return longestIdle;
    // A job that is due and was not given is blocked, or belongs to another replica.
    return Math.min(longestIdle, Math.max(job - now(), 50));
  }

  async #reclaim(): Promise<void> {
    const { store, owner, now, log } = this.#options;
    const at = performance.now();
    if (at - this.#reclaimed < betweenReclaims) return;
    const jobs = await store.reclaim(owner, now());
    const strays = await this.#requeueStrays();
    this.#reclaimed = at;
    for (const { id, token, profile, sessionId } of [...jobs, ...strays]) {
      log.warn('job_reclaimed', 'a job is queued again: the replica that ran it is gone', {
        ...{ job_id: id, token, profile, session_id: sessionId },
      });
    }
  }

  async #checkClock(): Promise<void> {
    const { store, now } = this.#options;
    const at = performance.now();
    if (at - this.#clockChecked < betweenClockChecks) return;
    await wakeLateByClock(store, now());
    this.#clockChecked = at;
  }

  /** Queues the jobs of this replica that do not run here. Call it while no claim is under way. */
  async #requeueStrays(): Promise<Job[]> {
    const { store, owner, now } = this.#options;
    const isStray = (job: Job): boolean =>
      job.state === 'running' && job.owner === owner && !this.#runs.has(job.id);
    const strays: Job[] = [];
    let cursor: string | undefined;
    do {
      const page = await store.list({ states: ['running'], limit: pageSize, cursor });
      strays.push(...page.jobs.filter(isStray));
      cursor = page.cursor ?? undefined;
    } while (cursor !== undefined);
    const requeued: Job[] = [];
    for (const { id } of strays) {
      let isQueued = false;
      const job = await store.update(id, (stored) => {
        isQueued = isStray(stored);
        return isQueued ? become(stored, 'queued', now()) : undefined;
      });
      if (job && isQueued) requeued.push(job);
    }
    return requeued;
  }

  /** Reports that this replica lives, and searches for changes whose notification was lost. */
  async #tick(): Promise<void> {
    const { store, owner } = this.#options;
    try {
      await store.keepAlive(owner);
      await this.#parkingEnds.retry();
      for (const id of [...this.#runs.keys()]) await this.#check(id);
    } catch {
      // The next tick tries again; the loop reports a store that cannot be used.
    }
  }

  #changed(id: string | undefined): void {
    if (id !== undefined && this.#runs.has(id)) {
      this.#check(id).catch(() => undefined);
    } else if (this.#busy < this.#options.workers) {
      this.#wake.wake();
    }
  }

  /** Interrupts a run whose job has ended without it, or was taken by another replica. */
  async #check(id: string): Promise<void> {
    const job = await this.#options.store.readHead(id);
    const run = this.#runs.get(id);
    if (run?.waits) run.decided(job?.approvals);
    if (!run || (job?.state === 'running' && job.owner === this.#options.owner)) return;
    // A job that waits was requeued by its own run, or for lack of a sign of life: its run may still finish.
    if (job?.state === 'cancelled' || job === undefined) return this.cancelled(id);
    if (job.state === 'queued') this.#wake.wake();
    if (job.state !== 'running' && !isEnd(job.state)) return;
    const cause = isEnd(job.state) ? 'it has ended meanwhile' : 'another replica runs it';
    run.interrupt(new BerthError('interrupted', `cannot finish ${id}: ${cause}`));
  }

  /** Reports a job that expired while it waited. */
  #expired({ id, token, profile, sessionId, state }: Job): void {
    const { log, store, now, onExpired } = this.#options;
    log.warn('job_finished', `a job has ended: ${state}`, {
      ...{ job_id: id, token, profile, session_id: sessionId, state, code: 'job_expired' },
    });
    onExpired?.();
    // An event that cannot be stored is lost, as those of a run are.
    store.appendEvents(id, [stateEvent(state, now())]).catch(() => {});
  }

  #failed(error: unknown): void {
    this.#options.log.error('failed', 'a job, or the search for the next one, has failed', {
      error,
    });
  }
}
