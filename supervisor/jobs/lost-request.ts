/** What becomes of a job whose request cannot be read any more. */
import { become, type Job } from './job.ts';

/** The unfinished job, which fails: its end reports the loss to its caller. */
export function withoutRequest(job: Job, now: number): Job {
  return become(job, 'failed', now, {
    error: {
      code: 'job_store_unavailable',
      detail: `cannot run ${job.id}: its prompt was lost when the store of jobs was damaged; send the job again`,
    },
  });
}
