/**
 * The rules by which a store decides that a job, or the callback of a job, is due. All stores share these rules.
 * Invariants: a clock that was set back delays no job that nobody delayed. Times that a caller or a limit gave are kept.
 */
import { become, isEnd, type Job, type JobState } from './job.ts';

/** A longer pause of a job, to which nobody gave a time, is the mark of a clock that was set back. In milliseconds. */
export const longestPause = 3_600_000;

/** Callbacks are retried for a day: a longer pause is the mark of a clock that was set back. In milliseconds. */
export const longestCallbackPause = 24 * 3_600_000;

/** An unfinished job in one of these states keeps later jobs of its session waiting. */
export const blockingStates: readonly JobState[] = ['queued', 'running', 'parked'];

/** Whether a job may run now, apart from the order of its session. */
export function isDue(job: Pick<Job, 'state' | 'dueAt' | 'createdAt'>, now: number): boolean {
  if (job.state !== 'queued') return false;
  return job.dueAt <= Math.max(now, job.createdAt) || job.dueAt > now + longestPause;
}

/** Whether a `scheduled` or `parked` job becomes `queued`. */
export function isToPromote(job: Pick<Job, 'state' | 'dueAt'>, now: number): boolean {
  return (job.state === 'scheduled' || job.state === 'parked') && job.dueAt <= now;
}

/** Whether a parked job, of which no end is known, waits for a time that only a clock that was set back explains. */
export function isLateByClock(
  { state, parked, dueAt }: Pick<Job, 'state' | 'parked' | 'dueAt'>,
  now: number,
): boolean {
  return state === 'parked' && parked?.until === null && dueAt > now + longestPause;
}

/** Whether a waiting job is past its `expiresAt`. The runner ends a running job. */
export function isToExpire(job: Pick<Job, 'state' | 'expiresAt'>, now: number): boolean {
  const waits = job.state !== 'running' && !isEnd(job.state);
  return waits && job.expiresAt !== null && job.expiresAt <= now;
}

/**
 * When the callback of a job is due, in milliseconds since 1970; 0 from the end of the job until the first request, and
 * undefined if nothing is to be delivered.
 */
export function callbackDueAt(
  job: Pick<Job, 'state' | 'endedAt' | 'callback'>,
): number | undefined {
  const { callback, endedAt } = job;
  if (!isEnd(job.state) || callback?.state !== 'pending') return undefined;
  const { nextAt } = callback;
  // Not `<=`: with a clock that was set back, every retry would be due at once.
  return nextAt === null || nextAt === endedAt ? 0 : nextAt;
}

/** The job after its `expiresAt`. */
export function expire(job: Job, now: number): Job {
  const at = new Date(job.expiresAt ?? now).toISOString();
  const error = {
    code: 'job_expired',
    detail: `cannot finish ${job.id}: it expired at ${at} while it was ${job.state}; send a job with a longer expires_in`,
  };
  return become(job, 'expired', now, { error });
}
