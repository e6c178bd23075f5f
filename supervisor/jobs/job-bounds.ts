/** What every store refuses to add: the bounds of unfinished jobs, and a key that belongs to another request. */
import { BerthError } from '../../shared/errors.ts';

/** The most unfinished jobs of one token, so that one caller cannot take the whole queue. @param most of all tokens */
export function mostOfOneToken(most: number): number {
  return Math.ceil(most / 2);
}

/** @param token whose bound is reached; absent if it is the bound of all */
export function jobsFull(most: number, token?: string): BerthError {
  const cause =
    token === undefined
      ? `${most} jobs have not ended`
      : `the token ${token} has ${most} jobs that have not ended, and one token may have half of BERTH_JOB_QUEUE_LIMIT`;
  return new BerthError(
    'jobs_full',
    `cannot accept the job: ${cause}; retry when some have ended, cancel some, or raise BERTH_JOB_QUEUE_LIMIT`,
    { details: { retry_after: 60 } },
  );
}

/** @param id the job that has the key */
export function keyMismatch(id: string): BerthError {
  return new BerthError(
    'idempotency_mismatch',
    `cannot accept the job: its Idempotency-Key belongs to ${id}, which has another body; use a new key for another job`,
  );
}
