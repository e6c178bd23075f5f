/**
 * One run of a job: from its claim, through the turn of its prompt, to its stored end.
 * Invariants: an interrupt and the expiry end the turn. The events of the run are stored before its end is reported.
 * What is written of the job, and when, is in run-record.ts.
 */
import { asBerthError, BerthError, type ErrorCode } from '../../shared/errors.ts';
import type { Approval } from '../approvals/approval.ts';
import { idInJob } from '../approvals/approval.ts';
import type { LiveApprovals } from '../approvals/live-approvals.ts';
import type { ApprovalKeeper } from '../approvals/prompt-approvals.ts';
import type { AttachmentStore } from '../attachments/attachment-store.ts';
import type { Answer } from '../prompts/answer.ts';
import type { Continuation } from '../prompts/continue-prompt.ts';
import type { Prompt, PromptResolver } from '../prompts/prompt.ts';
import type { RunsPrompts } from '../prompts/prompts.ts';
import { lostTooOften, mostRestarts, type RunEnd } from './after-run.ts';
import type { Job } from './job.ts';
import { carryOnWith } from './job-approvals.ts';
import { wasLost } from './job-attempts.ts';
import { JobEvents } from './job-events.ts';
import type { JobStore } from './job-store.ts';
import { promptRequestOf } from './prompt-of-job.ts';
import { reportRun } from './report-run.ts';
import { RunRecord, type RunRecordOptions } from './run-record.ts';
import { unknownIn } from './stored-request.ts';

export interface RunOptions extends RunRecordOptions {
  store: Pick<JobStore, 'update' | 'appendEvents'>;
  promptResolver: Pick<PromptResolver, 'resolve'>;
  continuation: Pick<Continuation, 'resolve'>;
  prompts: RunsPrompts;
  /** Has the attachments of jobs; absent: no job has attachments. */
  attachments?: Pick<AttachmentStore, 'load'> | undefined;
  /** The turns of this replica that wait for an approval. */
  approvals?: Pick<LiveApprovals, 'get'> | undefined;
  /** Called when the end of a run is stored. @param outcome `succeeded`, or the code of the error */
  onRun?: ((job: Job, outcome: string) => void) | undefined;
}

/** Timers of Node overflow above this. */
const longestTimer = 2 ** 31 - 1;

const lostSession = 'the session of an earlier run is gone: the job began a new session';

export class JobRun {
  readonly #options: RunOptions;
  readonly #ending = new AbortController();
  readonly #events: JobEvents;
  readonly #record: RunRecord;
  #expired = false;
  /** Ids of the approvals for which the process of the turn waits. */
  readonly #waiting = new Set<string>();
  readonly #ended = Promise.withResolvers<void>();

  /** @param job as it was claimed */
  constructor(options: RunOptions, job: Job) {
    this.#options = options;
    this.#record = new RunRecord(options, job);
    this.#events = new JobEvents(options.store, job.id, options.now);
  }

  /** Whether the turn waits for an approval: another job may run meanwhile. */
  get waits(): boolean {
    return this.#waiting.size > 0;
  }

  /** Resolves when `run` has; never rejects. */
  get ended(): Promise<void> {
    return this.#ended.promise;
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
    const { now, log, onRun } = this.#options;
    const { id, token, profile, priority, expiresAt } = this.#record.job;
    const fields = { job_id: id, token, profile };
    log.debug('job_started', 'running a job', { ...fields, priority });
    this.#events.add('state', { state: 'running' });
    const left = expiresAt === null ? undefined : Math.max(0, expiresAt - now());
    const timer = left !== undefined && left < longestTimer && this.#expireIn(left);
    const began = performance.now();
    const end = await this.#toEnd();
    if (timer) clearTimeout(timer);
    void this.#events.flush();
    const stored = await this.#record.store(end, this.#expired);
    const outcome = 'answer' in end ? 'succeeded' : asBerthError(end.error).code;
    if (stored) {
      reportRun(log, stored, outcome, Math.round(performance.now() - began));
      const { state, parked } = stored;
      this.#events.add('state', { state, ...(parked ? { parked } : {}) });
      onRun?.(stored, outcome);
    }
    await this.#events.flush();
    this.#ended.resolve();
  }

  #expireIn(milliseconds: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#expired = true;
      this.interrupt(new BerthError('interrupted', 'cannot finish the job: it has expired'));
    }, milliseconds);
  }

  async #toEnd(): Promise<RunEnd> {
    try {
      this.#ending.signal.throwIfAborted();
      const { job } = this.#record;
      if (job.restarts > mostRestarts) {
        return { error: lostTooOften(job.id), hopeless: true };
      }
      const unknown = unknownIn(job.request);
      if (unknown !== undefined) throw ofNewerBerth(job.id, unknown);
      const continued = await this.#resolve();
      if ('answer' in continued) {
        const end = published(continued.answer);
        // After a stop the next run publishes its commits.
        if ('error' in end) this.#ending.signal.throwIfAborted();
        return end;
      }
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
    const { promptResolver, continuation, attachments } = this.#options;
    const { job } = this.#record;
    const kept = job.request.attachments ?? [];
    const files = kept.length > 0 ? await attachments?.load(job.id, kept) : undefined;
    const request = { ...promptRequestOf(job), attachments: files };
    const { sessionId, promptId } = job;
    const begins =
      sessionId === null || (promptId === null && isSame(sessionId, request.sessionId));
    if (begins) return { prompt: await promptResolver.resolve(request), lost: false };
    const earlier = { sessionId, promptId, cut: wasLost(job) };
    return continuation.resolve(request, earlier, this.#ending.signal);
  }

  async #promptOf({ prompt, lost }: { prompt: Prompt; lost: boolean }): Promise<Prompt> {
    if (lost) this.#record.addNote(lostSession);
    const { timeout, priority } = this.#record.job;
    const lane = priority === 'background' ? 'background' : 'job';
    if (prompt.continues) await this.#record.note(prompt.continues);
    const approvals = this.#keeper();
    const text = carryOnWith(approvals.earlier);
    return {
      ...{ ...prompt, timeout, lane, priority, approvals },
      ...(text === undefined ? {} : { carryOn: text }),
      onSend: (sent) => this.#record.note(sent),
    };
  }

  #keeper(): ApprovalKeeper {
    const { id: jobId, approvals } = this.#record.job;
    return {
      earlier: approvals ?? [],
      newId: (number) => idInJob(jobId, number),
      wait: (approval) => this.#wait(approval),
      decide: (id, decision) => this.#record.decide(id, decision),
      goOn: (approval) => this.#goOn(approval),
      leave: () => this.#leave(),
    };
  }

  async #wait(approval: Approval): Promise<Approval | undefined> {
    const { parked, approvals } = await this.#record.wait(approval);
    this.#waiting.add(approval.id);
    this.#events.add('state', { state: 'parked', parked: { reason: parked?.reason } });
    void this.#events.flush();
    return approvals?.find(({ id }) => id === approval.id);
  }

  async #leave(): Promise<void> {
    if (!this.waits) return;
    await this.#record.leave();
    this.#waiting.clear();
    this.#events.add('state', { state: 'running' });
  }

  async #goOn(approval: Approval): Promise<void> {
    const others = [...this.#waiting].some((id) => id !== approval.id);
    await this.#record.goOn(approval, others);
    const waited = this.#waiting.delete(approval.id);
    if (waited && !others) this.#events.add('state', { state: 'running' });
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

function ofNewerBerth(id: string, unknown: string): BerthError {
  return new BerthError(
    'not_supported',
    `cannot run ${id}: its request was accepted by a newer berth (${unknown}); the job waits until that version runs, or cancel it`,
  );
}

function isSame(one: string, other: string | undefined): boolean {
  return one.toLowerCase() === other?.toLowerCase();
}
