/**
 * One run of a job, from its claim to its stored end.
 * Invariants: the session and the id of the prompt are in the store before the CLI gets the prompt. The end of the run
 * is kept until the store has it. A job that was cancelled, or that another replica has taken, is not changed.
 */
import { backoff } from '../../shared/backoff.ts';
import { asBerthError, BerthError, type ErrorCode } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { pause } from '../../shared/waiting.ts';
import type { Approval, ApprovalDecision } from '../approvals/approval.ts';
import { idInJob } from '../approvals/approval.ts';
import type { LiveApprovals } from '../approvals/live-approvals.ts';
import type { ApprovalKeeper } from '../approvals/prompt-approvals.ts';
import type { AttachmentStore } from '../attachments/attachment-store.ts';
import type { Answer } from '../prompts/answer.ts';
import type { Continuation } from '../prompts/continue-prompt.ts';
import type { Intake, Prompt, SentPrompt } from '../prompts/prompt.ts';
import type { RunsPrompts } from '../prompts/prompts.ts';
import { afterRun, lostTooOften, mostRestarts, type RunEnd } from './after-run.ts';
import { expire } from './due.ts';
import { become, type Job } from './job.ts';
import { carryOnWith, decideIn, goOn, isHeld, letGo, waitFor } from './job-approvals.ts';
import { endAttempt, wasLost, withoutOpenAttempt } from './job-attempts.ts';
import { JobEvents } from './job-events.ts';
import type { JobStore } from './job-store.ts';
import { promptRequestOf } from './prompt-of-job.ts';

export interface RunOptions {
  store: Pick<JobStore, 'update' | 'appendEvents'>;
  /** The replica. */
  owner: string;
  intake: Pick<Intake, 'resolve'>;
  continuation: Pick<Continuation, 'resolve'>;
  prompts: RunsPrompts;
  /** Has the attachments of jobs; absent: no job has attachments. */
  attachments?: Pick<AttachmentStore, 'load'> | undefined;
  /** The turns of this replica that wait for an approval. */
  approvals?: Pick<LiveApprovals, 'get'> | undefined;
  log: Log;
  /** Milliseconds since 1970. */
  now: () => number;
  /** Called when the end of a run is stored. @param outcome `succeeded`, or the code of the error */
  onRun?: ((job: Job, outcome: string) => void) | undefined;
  /** Aborts when nothing can be stored any more. */
  closing: AbortSignal;
}

/** The pauses between tries to write to the store, in milliseconds. */
const writing = { first: 100, longest: 10_000, jitter: 0.3 };
/** Milliseconds for which a prompt with a worker waits for the store. */
const longestWait = 10_000;
/** Timers of Node overflow above this. */
const longestTimer = 2 ** 31 - 1;

const lostSession = 'the session of an earlier run is gone: the job began a new session';

export class JobRun {
  readonly #options: RunOptions;
  readonly #ending = new AbortController();
  readonly #events: JobEvents;
  #job: Job;
  #expired = false;
  #waits = false;

  /** @param job as it was claimed */
  constructor(options: RunOptions, job: Job) {
    this.#options = options;
    this.#job = job;
    this.#events = new JobEvents(options.store, job.id, options.now);
  }

  /** Whether the turn waits for an approval: another job may run meanwhile. */
  get waits(): boolean {
    return this.#waits;
  }

  /** Another replica may have stored decisions of approvals that the turn waits for. */
  decided(approvals: readonly Approval[] = []): void {
    for (const { id, decision } of approvals) {
      if (decision) this.#options.approvals?.get(id)?.settle(decision);
    }
  }

  /** Ends the run early. The job in the store stays as it is, if it was changed meanwhile. */
  interrupt(reason: BerthError): void {
    // What the run has noted comes before the event of the cancel.
    void this.#events.flush();
    this.#ending.abort(reason);
  }

  /** Resolves when the end of the run is stored, or can no longer be stored; never rejects. */
  async run(): Promise<void> {
    const { now, log } = this.#options;
    const { id, token, profile, priority, expiresAt } = this.#job;
    const fields = { job_id: id, token, profile };
    log.debug('job_started', 'running a job', { ...fields, priority });
    this.#events.add('state', { state: 'running' });
    const left = expiresAt === null ? undefined : Math.max(0, expiresAt - now());
    const timer = left !== undefined && left < longestTimer && this.#expireIn(left);
    const began = performance.now();
    const end = await this.#toEnd();
    if (timer) clearTimeout(timer);
    void this.#events.flush();
    const stored = await this.#store(end);
    const outcome = 'answer' in end ? 'succeeded' : asBerthError(end.error).code;
    if (stored) this.#report(stored, outcome, Math.round(performance.now() - began));
    await this.#events.flush();
  }

  #expireIn(milliseconds: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#expired = true;
      this.interrupt(new BerthError('interrupted', 'cannot finish the job: it has expired'));
    }, milliseconds);
  }

  async #toEnd(): Promise<RunEnd> {
    try {
      if (this.#job.restarts + (wasLost(this.#job) ? 1 : 0) > mostRestarts) {
        return { error: lostTooOften(this.#job.id), hopeless: true };
      }
      const continued = await this.#resolve();
      if ('answer' in continued) return published(continued.answer);
      this.#ending.signal.throwIfAborted();
      const answer = await this.#options.prompts.run(
        await this.#promptOf(continued),
        this.#ending.signal,
        (event) => this.#ending.signal.aborted || this.#events.note(event),
      );
      return published(answer);
    } catch (error) {
      return { error };
    }
  }

  async #resolve() {
    const { intake, continuation, attachments } = this.#options;
    const kept = this.#job.request.attachments ?? [];
    const files = kept.length > 0 ? await attachments?.load(this.#job.id, kept) : undefined;
    const request = { ...promptRequestOf(this.#job), attachments: files };
    const { sessionId, promptId } = this.#job;
    const begins =
      sessionId === null || (promptId === null && isSame(sessionId, request.sessionId));
    if (begins) return { prompt: await intake.resolve(request), lost: false };
    return continuation.resolve(request, { sessionId, promptId, cut: wasLost(this.#job) });
  }

  async #promptOf({ prompt, lost }: { prompt: Prompt; lost: boolean }): Promise<Prompt> {
    if (lost) this.#job = { ...this.#job, notes: [...this.#job.notes, lostSession] };
    const { timeout, priority } = this.#job;
    const lane = priority === 'background' ? 'background' : 'job';
    if (prompt.continues) await this.#note(prompt.continues);
    const approvals = this.#keeper();
    const text = carryOnWith(approvals.earlier);
    return {
      ...{ ...prompt, timeout, lane, priority, approvals },
      ...(text === undefined ? {} : { carryOn: text }),
      onSend: (sent) => this.#note(sent),
    };
  }

  #keeper(): ApprovalKeeper {
    return {
      earlier: this.#job.approvals ?? [],
      newId: (number) => idInJob(this.#job.id, number),
      wait: (approval) => this.#wait(approval),
      decide: (id, decision) => this.#decide(id, decision),
      goOn: (approval) => this.#goOn(approval),
    };
  }

  async #wait(approval: Approval): Promise<void> {
    const { owner, now } = this.#options;
    const job = await this.#write((stored) =>
      isOurs(stored, owner) || isHeld(stored, owner)
        ? waitFor({ ...stored, attempts: this.#job.attempts }, approval, owner, now())
        : undefined,
    );
    if (!job || !isHeld(job, owner)) throw notOurs();
    this.#waits = true;
    this.#events.add('state', { state: 'parked', parked: { reason: job.parked?.reason } });
    void this.#events.flush();
  }

  async #decide(id: string, decision: ApprovalDecision): Promise<Approval> {
    const { now } = this.#options;
    const job = await this.#write((stored) =>
      decideIn(stored, id, decision, { isHere: true, now: now() }),
    );
    const approval = job?.approvals?.find((each) => each.id === id);
    if (!approval) throw notOurs();
    return approval;
  }

  async #goOn(approval: Approval): Promise<void> {
    const { owner, now } = this.#options;
    const { attempts } = this.#job;
    const job = await this.#write((stored) => {
      const ours = isOurs(stored, owner) || isHeld(stored, owner);
      return ours ? goOn({ ...stored, attempts }, approval, owner, now()) : undefined;
    });
    if (!job || !(isOurs(job, owner) || isHeld(job, owner))) throw notOurs();
    if (this.#waits && job.state === 'running') this.#events.add('state', { state: 'running' });
    this.#waits = job.state !== 'running';
  }

  /** An attempt begins. The attempt of a run that was lost does not count. */
  #open(): void {
    const restarts = this.#job.restarts + (wasLost(this.#job) ? 1 : 0);
    const attempt = { startedAt: this.#options.now(), endedAt: null, outcome: null };
    this.#job = {
      ...this.#job,
      restarts,
      attempts: [...withoutOpenAttempt(this.#job), attempt],
    };
  }

  /** The prompt, or a text that continues its turn, is about to be sent. */
  async #note({ sessionId, promptId }: SentPrompt): Promise<void> {
    const { owner, now } = this.#options;
    this.#open();
    this.#job = { ...this.#job, sessionId, promptId };
    const { attempts, restarts, notes } = this.#job;
    const until = now() + longestWait;
    const job = await this.#write(
      (stored) =>
        isOurs(stored, owner)
          ? { ...stored, sessionId, promptId, attempts, restarts, notes }
          : undefined,
      () => now() > until,
    );
    if (!job || !isOurs(job, owner)) {
      throw notOurs();
    }
    this.#job = job;
  }

  /** @returns the job as this run has changed it; undefined if it was changed meanwhile, or cannot be stored */
  async #store(end: RunEnd): Promise<Job | undefined> {
    const { owner, now, log } = this.#options;
    let written: Job | undefined;
    try {
      await this.#write((stored) => {
        written = this.#after(stored, end, owner, now());
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
  #after(stored: Job, end: RunEnd, owner: string, now: number): Job | undefined {
    const held = isHeld(stored, owner);
    if (held && staysParked(end)) return letGo(stored, now);
    if ('error' in end && asBerthError(end.error).code === 'approval_pending') return undefined;
    // Taken from this replica for lack of a sign of life, and not yet run by another one.
    const waits = stored.state === 'queued' && stored.promptId === this.#job.promptId;
    const finished = waits && 'answer' in end;
    if (!finished && !held && !isOurs(stored, owner)) return undefined;
    const queued = held ? become(stored, 'queued', now) : stored;
    const running = finished || held ? become(queued, 'running', now, { owner }) : stored;
    const { attempts, restarts, sessionId, promptId, notes } = this.#job;
    const job = { ...running, attempts, restarts, sessionId, promptId, notes };
    if (this.#expired && !('answer' in end)) {
      return { ...expire(job, now), attempts: endAttempt(attempts, now, 'expired') };
    }
    return afterRun(job, end, now);
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

  #report(job: Job, outcome: string, duration_ms: number): void {
    const { log, onRun } = this.#options;
    const { id: job_id, token, profile, state, session_id } = { ...job, session_id: job.sessionId };
    const fields = { job_id, token, profile, session_id, state, duration_ms };
    if (state === 'parked') {
      const until = job.parked?.until;
      log.info('job_parked', `a job waits: ${outcome}`, {
        ...fields,
        reason: outcome,
        until: until === null || until === undefined ? null : new Date(until).toISOString(),
      });
    } else if (state === 'queued') {
      log.info('job_requeued', `a job is queued again: ${outcome}`, { ...fields, reason: outcome });
    } else {
      const level = state === 'succeeded' ? 'info' : 'warn';
      log[level]('job_finished', `a job has ended: ${state}`, { ...fields, code: outcome });
    }
    this.#events.add('state', { state, ...(job.parked ? { parked: job.parked } : {}) });
    onRun?.(job, outcome);
  }
}

/**
 * The end of a run whose turn has ended. A job has not succeeded before its commits are published: the next run finds
 * the turn in the transcript, and only publishes.
 */
function published(answer: Answer): RunEnd {
  const problem = answer.workspace?.problem;
  if (!problem) return { answer };
  const { session_id } = answer;
  const code = problem.code as ErrorCode;
  return { error: new BerthError(code, problem.detail, { details: { session_id } }) };
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

function isSame(one: string, other: string | undefined): boolean {
  return one.toLowerCase() === other?.toLowerCase();
}

function isOurs({ state, owner }: Job, replica: string): boolean {
  return state === 'running' && owner === replica;
}
