/** The attempts of a job. An attempt that is open belongs to the run that goes on, or to a run that was lost. */
import type { Job, JobAttempt } from './job.ts';

/** The attempts, the last of which has ended. */
export function endAttempt(
  attempts: readonly JobAttempt[],
  endedAt: number,
  outcome: string,
): JobAttempt[] {
  return attempts.map((attempt) =>
    attempt.endedAt === null ? { ...attempt, endedAt, outcome } : attempt,
  );
}

/** The attempts without the one of a run that does not count. */
export function withoutOpenAttempt({ attempts }: Pick<Job, 'attempts'>): JobAttempt[] {
  return attempts.filter(({ endedAt }) => endedAt !== null);
}

/** Whether the last run of a job was lost with its replica, before its end was stored. */
export function wasLost({ attempts }: Pick<Job, 'attempts'>): boolean {
  return attempts.at(-1)?.endedAt === null;
}
