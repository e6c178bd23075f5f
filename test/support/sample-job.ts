/** Jobs for tests. */
import { become, type Job } from '../../supervisor/jobs/job.ts';
import { newJobId } from '../../supervisor/jobs/job-id.ts';

/** A job that was accepted. */
export function queuedJob(fields: Partial<Job> = {}): Job {
  const at = fields.createdAt ?? Date.now();
  return {
    id: newJobId(at),
    token: 'tests',
    tokenId: null,
    state: 'queued',
    request: { prompt: '[[say done]]' },
    priority: 'normal',
    profile: 'default',
    sessionId: null,
    ownSession: false,
    promptId: null,
    metadata: {},
    timeout: 60_000,
    maxAttempts: 3,
    createdAt: at,
    startedAt: null,
    endedAt: null,
    notBefore: null,
    expiresAt: null,
    attempts: [],
    restarts: 0,
    parkings: 0,
    parked: null,
    dueAt: at,
    owner: null,
    result: null,
    error: null,
    notes: [],
    callback: null,
    ...fields,
  };
}

/** A job in the middle of its first attempt. */
export function runningJob(fields: Partial<Job> = {}): Job {
  const job = queuedJob();
  const attempts = [{ startedAt: job.createdAt, endedAt: null, outcome: null }];
  return { ...become(job, 'running', job.createdAt, { owner: 'here', attempts }), ...fields };
}
