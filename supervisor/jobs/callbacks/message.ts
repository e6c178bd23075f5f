/**
 * The message that reports the end of a job.
 * Invariant: the id depends only on the job and the time of its end. So it stays over retries and restarts, and a job that
 * runs again and ends again has another.
 */
import { isEnd, type Job } from '../job.ts';
import { viewOf } from '../job-view.ts';

export interface Message {
  id: string;
  /** JSON. */
  body: string;
}

/** Undefined if the job has not ended. */
export function messageOfEnd(job: Job): Message | undefined {
  if (!isEnd(job.state) || job.endedAt === null) return undefined;
  const timestamp = new Date(job.endedAt).toISOString();
  return {
    id: `${job.id}_${job.endedAt}`,
    body: JSON.stringify({ type: `job.${job.state}`, timestamp, data: viewOf(job) }),
  };
}
