/**
 * Decides what follows the end of a run of a job: the job has succeeded, is queued again, is parked, or has failed.
 * Pure. Invariants: each error code is decided in the table below. A limit, a pause or an end of berth spends no
 * attempt. A job with no attempt left fails with the error of its last attempt.
 */
import { backoff } from '../../shared/backoff.ts';
import { asBerthError, BerthError, type ErrorCode } from '../../shared/errors.ts';
import type { Answer } from '../prompts/answer.ts';
import { become, type Job, type JobAttempt, type JobProblem } from './job.ts';
import { endAttempt, failAttempt, withoutOpenAttempt } from './job-attempts.ts';

/**
 * `fail`: another run would end in the same way, or a person has ended the job. `retry`: another run may succeed; it
 * spends an attempt. `park`: the job waits until a limit or a fault ends. `requeue`: berth has ended the run, and the
 * job is due at once, or after a second.
 */
export type Verdict = 'fail' | 'retry' | 'park' | 'requeue';

export const verdicts: Readonly<Record<ErrorCode, Verdict>> = {
  // The limits and the faults that end by themselves, or by what a person does.
  usage_limit: 'park',
  rate_limited: 'park',
  quota_reserved: 'park',
  prompts_exceeded: 'park',
  daily_budget_exceeded: 'park',
  overloaded: 'park',
  model_unavailable: 'park',
  login_required: 'park',
  login_unavailable: 'park',
  billing_required: 'park',
  paused: 'park',
  disk_full: 'park',
  volume_unwritable: 'park',
  cli_unavailable: 'park',
  mcp_unavailable: 'park',
  configuration_invalid: 'park',
  workspace_unavailable: 'park',
  // The turn has ended; the next run only pushes its commits.
  publish_failed: 'park',
  approval_pending: 'park',
  // A newer berth has accepted the job, and will run it.
  not_supported: 'park',

  // The run was lost, or the model gave no answer. The next run continues the turn, so no tool runs again blindly.
  worker_lost: 'retry',
  empty_answer: 'retry',
  output_mismatch: 'retry',
  internal: 'retry',

  // berth could not run the job to its end.
  draining: 'requeue',
  queue_full: 'requeue',
  job_store_unavailable: 'requeue',

  // The request, its limits or a person.
  invalid_request: 'fail',
  unauthorized: 'fail',
  token_revoked: 'fail',
  forbidden: 'fail',
  profile_not_found: 'fail',
  session_not_found: 'fail',
  workspace_refused: 'fail',
  workspace_not_found: 'fail',
  workspace_too_large: 'fail',
  publish_refused: 'fail',
  payload_too_large: 'fail',
  prompt_too_large: 'fail',
  blocked_by_hook: 'fail',
  budget_exceeded: 'fail',
  turns_exceeded: 'fail',
  model_not_found: 'fail',
  permission_denied: 'fail',
  turn_failed: 'fail',
  prompt_timeout: 'fail',
  interrupted: 'fail',
  worker_recycled: 'fail',

  // No prompt ends with these.
  config_invalid: 'fail',
  volume_damaged: 'fail',
  remote_unavailable: 'fail',
  write_back_failed: 'fail',
  lease_held: 'fail',
  remote_refused: 'fail',
  login_failed: 'fail',
  cli_undelivered: 'fail',
  cli_refused: 'fail',
  route_not_found: 'fail',
  job_not_found: 'fail',
  job_not_ended: 'fail',
  job_ended: 'fail',
  approval_not_found: 'fail',
  approval_ended: 'fail',
  job_expired: 'fail',
  jobs_full: 'fail',
  method_not_allowed: 'fail',
  request_timeout: 'fail',
  idempotency_conflict: 'fail',
  idempotency_mismatch: 'fail',
  unsupported_media_type: 'fail',
  headers_too_large: 'fail',
};

/** Reasons whose end is reported to the runner: the job waits for the report, and is retried after a longer pause. */
const announced: ReadonlySet<ErrorCode> = new Set([
  'paused',
  'login_required',
  'disk_full',
  'volume_unwritable',
]);

/**
 * What another replica may know before this one: each replica reads a new token or profile at its own time, up to minutes
 * after the change.
 */
const spreading: ReadonlySet<ErrorCode> = new Set([
  'token_revoked',
  'profile_not_found',
  'forbidden',
]);

/** Milliseconds. */
const second = 1_000;
/** From the acceptance of a job on, for which this replica may not know its token or its profile yet. */
const longestSpreading = 5 * 60 * second;
const announcedPause = 10 * 60 * second;
/** The pauses of a job that is parked without a known end. */
const unknownEnd = { first: 15 * second, longest: 15 * 60 * second, jitter: 0.3 };
/** The pauses between attempts that fail. */
const betweenAttempts = { first: 5 * second, longest: 10 * 60 * second, jitter: 0.3 };
/** After a reset, the parked jobs begin within a tenth of their pause, and within these bounds. */
const leastSpread = 2 * second;
const mostSpread = 5 * 60 * second;
/** The most runs that may be lost with their replica. */
export const mostRestarts = 20;

/** `hopeless`: the job fails, whatever the error. */
export type RunEnd = { answer: Answer } | { error: unknown; hopeless?: boolean };

export interface AfterRunOptions {
  /** Whether other replicas accept jobs for this one. */
  shared?: boolean;
  /** Whether the run has sent a prompt; if not, an earlier run that was lost stays the last one. */
  sent?: boolean;
  /** Returns a number from 0 to 1. */
  random?: () => number;
}

/** @param job as it runs */
export function afterRun(
  job: Job,
  end: RunEnd,
  now: number,
  { shared = false, sent = true, random = Math.random }: AfterRunOptions = {},
): Job {
  if ('answer' in end) {
    const attempts = endAttempt(job.attempts, now, 'succeeded');
    return become(job, 'succeeded', now, { attempts, result: withMetadata(job, end.answer) });
  }
  const error = asBerthError(end.error);
  if (end.hopeless) return failed(job, error, now);
  const isEarly = shared && spreading.has(error.code) && now - job.createdAt < longestSpreading;
  switch (isEarly ? 'park' : verdicts[error.code]) {
    case 'fail':
      return failed(job, error, now);
    case 'retry':
      return retried(job, error, now, random);
    case 'park':
      return parked(job, error, now, { attempts: left(job, sent), random });
    case 'requeue':
      return become(job, 'queued', now, {
        attempts: left(job, sent),
        // The next run could meet the same full queue at once.
        dueAt: error.code === 'draining' ? now : now + second,
      });
  }
}

function failed(job: Job, error: BerthError, now: number): Job {
  const attempts = endAttempt(job.attempts, now, error.code);
  return become(job, 'failed', now, { attempts, error: problemOf(error) });
}

function retried(job: Job, error: BerthError, now: number, random: () => number): Job {
  const attempts = failAttempt(job.attempts, now, error.code);
  if (attempts.length >= job.maxAttempts) return failed({ ...job, attempts }, error, now);
  const pause = backoff(Math.max(1, attempts.length), betweenAttempts, random);
  return become(job, 'queued', now, { attempts, dueAt: Math.round(now + pause) });
}

/** The attempts after a run that does not count. */
function left(job: Job, sent: boolean): JobAttempt[] {
  return sent ? withoutOpenAttempt(job) : job.attempts;
}

function parked(
  job: Job,
  error: BerthError,
  now: number,
  { attempts, random }: { attempts: JobAttempt[]; random: () => number },
): Job {
  const until = endOf(error, now);
  const parkings = job.parkings + 1;
  return become(job, 'parked', now, {
    attempts,
    parkings,
    parked: { reason: error.code, until },
    dueAt: Math.round(dueAfter(error.code, until, parkings, now, random)),
  });
}

function dueAfter(
  code: ErrorCode,
  until: number | null,
  parkings: number,
  now: number,
  random: () => number,
): number {
  if (until !== null) {
    const spread = Math.min(mostSpread, Math.max(leastSpread, (until - now) / 10));
    return until + random() * spread;
  }
  if (announced.has(code)) return now + announcedPause * (1 - random() / 4);
  return now + backoff(parkings, unknownEnd, random);
}

/**
 * When the limit of the error ends, in milliseconds since 1970; null if that is unknown. It is unknown also if the
 * reported end has passed: the clock of this machine may be ahead, and the job would run again at once until it agrees.
 */
function endOf({ code, details }: BerthError, now: number): number | null {
  if (announced.has(code)) return null;
  const at = typeof details.resets_at === 'string' ? Date.parse(details.resets_at) : Number.NaN;
  if (!Number.isNaN(at)) return at > now ? at : null;
  const { retry_after: seconds } = details;
  return typeof seconds === 'number' ? now + seconds * second : null;
}

/** The error as callers see it. */
export function problemOf({ code, message, details }: BerthError): JobProblem {
  return { ...details, code, detail: message };
}

function withMetadata({ metadata }: Job, answer: Answer): NonNullable<Job['result']> {
  return Object.keys(metadata).length > 0 ? { ...answer, metadata } : answer;
}

/** The error of a job whose runs were lost with their replica again and again. */
export function lostTooOften(id: string): BerthError {
  return new BerthError(
    'worker_lost',
    `cannot finish ${id}: berth ended more than ${mostRestarts} times while the job ran, and the job may be the cause; check the memory limit of the pod, then retry the job`,
  );
}
