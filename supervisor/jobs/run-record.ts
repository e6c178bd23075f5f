/**
 * Holds the job of one run as the run last saw it, and writes the changes of the run to the store.
 * Invariants: the session and the id of the prompt are in the store before the CLI gets the prompt. The end of the run
 * is kept until the store has it. A job that was cancelled, or that has another claim since, is not changed.
 */
import { isDeepStrictEqual } from 'node:util';
import { backoff } from '../../shared/backoff.ts';
import { asBerthError, BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { pause } from '../../shared/waiting.ts';
import type { Approval, ApprovalDecision } from '../approvals/approval.ts';
import type { SentPrompt } from '../prompts/prompt.ts';
import { afterRun, type RunEnd } from './after-run.ts';
import { expire } from './due.ts';
import { become, type Job } from './job.ts';
import { decideIn, goOn, isHeld, leave, letGo, waitFor } from './job-approvals.ts';
import { endAttempt, withoutOpenAttempt } from './job-attempts.ts';
import type { JobStore } from './job-store.ts';

export interface RunRecordOptions {
  store: Pick<JobStore, 'update'>;
  /** The replica. */
  owner: string;
  log: Log;
  /** Whether other replicas accept jobs too; false if absent. */
  shared?: boolean;
  /** Milliseconds since 1970. */
  now: () => number;
  /** Aborts when nothing can be stored any more. */
  closing: AbortSignal;
}

/** The pauses between tries to write to the store, in milliseconds. */
const writing = { first: 100, longest: 10_000, jitter: 0.3 };
/** Milliseconds for which a prompt with a worker waits for the store. */
const longestWait = 10_000;

export class RunRecord {
  readonly #options: RunRecordOptions;
  #job: Job;
  #sent = false;

  /** @param job as it was claimed */
  constructor(options: RunRecordOptions, job: Job) {
    this.#options = options;
    this.#job = job;
  }

  /** The job as this run knows it; the state in the store may have changed. */
  get job(): Job {
    return this.#job;
  }

  /** Adds a note that is stored with the next prompt. */
  addNote(note: string): void {
    this.#job = { ...this.#job, notes: [...this.#job.notes, note] };
  }

  /** Parks the job until the approval is decided. @returns the stored job @throws BerthError `interrupted` */
  async wait(approval: Approval): Promise<Job> {
    const { owner, now } = this.#options;
    const job = await this.#write((stored) =>
      this.#isOurs(stored) || this.#isHeld(stored)
        ? waitFor({ ...stored, attempts: this.#job.attempts }, approval, owner, now())
        : undefined,
    );
    if (!job || !this.#isHeld(job)) throw notOurs();
    return job;
  }

  /** Stores a decision. @returns the approval with its decision @throws BerthError `interrupted` */
  async decide(id: string, decision: ApprovalDecision): Promise<Approval> {
    const { now } = this.#options;
    const job = await this.#write((stored) =>
      decideIn(stored, id, decision, { isHere: true, now: now() }),
    );
    const approval = job?.approvals?.find((each) => each.id === id);
    if (!approval) throw notOurs();
    return approval;
  }

  /** The process that waited is gone, and the turn continues in another one. @throws BerthError `interrupted` */
  async leave(): Promise<void> {
    const { owner, now } = this.#options;
    const { attempts } = this.#job;
    const job = await this.#write((stored) => {
      if (this.#isHeld(stored)) return leave({ ...stored, attempts }, owner, now());
      return this.#isOurs(stored) ? stored : undefined;
    });
    if (!job || !this.#isOurs(job)) throw notOurs();
  }

  /**
   * The turn continues after a decision.
   * @param waits whether the turn waits for another approval
   * @returns the stored job
   * @throws BerthError `interrupted`
   */
  async goOn(approval: Approval, waits: boolean): Promise<Job> {
    const { owner, now } = this.#options;
    const { attempts } = this.#job;
    const job = await this.#write((stored) => {
      const ours = this.#isOurs(stored) || this.#isHeld(stored);
      return ours ? goOn({ ...stored, attempts }, approval, owner, now(), waits) : undefined;
    });
    if (!job || !(this.#isOurs(job) || this.#isHeld(job))) throw notOurs();
    return job;
  }

  /** An attempt begins. The attempt of a run that was lost does not count. */
  #open(): void {
    const attempt = { startedAt: this.#options.now(), endedAt: null, outcome: null };
    this.#job = {
      ...this.#job,
      attempts: [...withoutOpenAttempt(this.#job), attempt],
    };
  }

  /** The prompt, or a text that continues its turn, is about to be sent. @throws BerthError `interrupted` */
  async note({ sessionId, promptId }: SentPrompt): Promise<void> {
    const { now } = this.#options;
    this.#sent = true;
    this.#open();
    this.#job = { ...this.#job, sessionId, promptId };
    const { attempts, restarts, notes } = this.#job;
    const until = now() + longestWait;
    const job = await this.#write(
      (stored) =>
        this.#isOurs(stored)
          ? { ...stored, sessionId, promptId, attempts, restarts, notes }
          : undefined,
      () => now() > until,
    );
    if (!job || !this.#isOurs(job)) {
      throw notOurs();
    }
    this.#job = job;
  }

  /**
   * Stores the end of the run; never rejects.
   * @param expired whether the run was ended because the job has expired
   * @returns the job as this run has changed it; undefined if it was changed meanwhile, or cannot be stored
   */
  async store(end: RunEnd, expired: boolean): Promise<Job | undefined> {
    const { log } = this.#options;
    let written: Job | undefined;
    try {
      await this.#write((stored) => {
        // An earlier try has written it, and its answer was lost.
        if (written && isSameEnd(stored, written)) return undefined;
        written = this.#after(stored, end, expired);
        return written;
      });
      return written;
    } catch (error) {
      log.error('job_unstored', 'the end of a run cannot be stored; the next start continues it', {
        job_id: this.#job.id,
        error,
      });
      return undefined;
    }
  }

  /** The job after this run; undefined if the job is no longer this run's. */
  #after(stored: Job, end: RunEnd, expired: boolean): Job | undefined {
    const { owner } = this.#options;
    const now = this.#options.now();
    const held = this.#isHeld(stored);
    if (held && staysParked(end)) return letGo(stored, now);
    if ('error' in end && asBerthError(end.error).code === 'approval_pending') return undefined;
    // Taken from this replica for lack of a sign of life, and not yet run by another one.
    const waits = stored.state === 'queued' && stored.promptId === this.#job.promptId;
    const finished = waits && 'answer' in end;
    if (!finished && !held && !this.#isOurs(stored)) return undefined;
    const queued = held ? become(stored, 'queued', now) : stored;
    const running = finished || held ? become(queued, 'running', now, { owner }) : stored;
    const { attempts, restarts, sessionId, promptId, notes } = this.#job;
    const job = { ...running, attempts, restarts, sessionId, promptId, notes };
    if (expired && !('answer' in end)) {
      return { ...expire(job, now), attempts: endAttempt(attempts, now, 'expired') };
    }
    const shared = this.#options.shared === true;
    return afterRun(job, end, now, { shared, sent: this.#sent });
  }

  /** Whether the job runs under the claim of this run. */
  #isOurs({ state, owner, claim }: Job): boolean {
    return state === 'running' && owner === this.#options.owner && claim === this.#job.claim;
  }

  /** Whether the job waits for an approval in this run. */
  #isHeld(job: Job): boolean {
    return isHeld(job, this.#options.owner, this.#job.claim);
  }

  /** Writes as soon as the store can be written. @throws BerthError `job_store_unavailable` when that is too late */
  async #write(
    change: (stored: Job) => Job | undefined,
    isLate: () => boolean = () => false,
  ): Promise<Job | undefined> {
    const { store, closing } = this.#options;
    for (let failures = 1; ; failures++) {
      try {
        return await store.update(this.#job.id, change);
      } catch (thrown) {
        const error = asBerthError(thrown);
        if (error.code !== 'job_store_unavailable' || closing.aborted || isLate()) throw error;
        await pause(backoff(failures, writing), closing);
      }
    }
  }
}

function isSameEnd(one: Job, other: Job): boolean {
  const endOf = ({ state, endedAt, dueAt, promptId, attempts }: Job) => [
    ...[state, endedAt, dueAt, promptId],
    attempts,
  ];
  return isDeepStrictEqual(endOf(one), endOf(other));
}

function notOurs(): BerthError {
  return new BerthError('interrupted', 'cannot run the job: it was cancelled or taken over');
}

/** Whether a job that waits for an approval stays parked after the end of its run. */
function staysParked(end: RunEnd): boolean {
  if ('answer' in end) return false;
  const { code } = asBerthError(end.error);
  return code === 'approval_pending' || code === 'draining';
}
