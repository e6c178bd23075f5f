/** Logs the end of a run of a job, by the state of the job after the run. */
import type { Log } from '../../shared/log.ts';
import type { Job } from './job.ts';

/** @param outcome `succeeded`, or the code of the error */
export function reportRun(log: Log, job: Job, outcome: string, duration_ms: number): void {
  const { id: job_id, token, profile, state, sessionId: session_id } = job;
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
}
