/** The attempts of a job. An attempt that is open belongs to the run in progress, or to a run that was lost. */
import { become, type Job, type JobAttempt } from './job.ts';

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

/** The attempts with a failed one, which is that of the run, or is new if the run failed before it sent its prompt. */
export function failAttempt(
  attempts: readonly JobAttempt[],
  endedAt: number,
  outcome: string,
): JobAttempt[] {
  if (attempts.at(-1)?.endedAt === null) return endAttempt(attempts, endedAt, outcome);
  return [...attempts, { startedAt: endedAt, endedAt, outcome }];
}

/** The job whose run was lost: queued again. Each loss counts, since the job may be its cause, also before its prompt. */
export function requeueLost(job: Job, now: number): Job {
  return become(job, 'queued', now, { restarts: job.restarts + 1 });
}

/** The attempts without the one of a run that does not count. */
export function withoutOpenAttempt({ attempts }: Pick<Job, 'attempts'>): JobAttempt[] {
  return attempts.filter(({ endedAt }) => endedAt !== null);
}

/** Whether the last run of a job was lost with its replica, before its end was stored. */
export function wasLost({ attempts }: Pick<Job, 'attempts'>): boolean {
  return attempts.at(-1)?.endedAt === null;
}
