/** A job as a store has it, for tests. */
import { randomUUID } from 'node:crypto';
import type { Job } from '../../supervisor/jobs/job.ts';

/** A queued job of the token `tests`; an ended one has the end of its state. */
export function jobOf(fields: Partial<Job> = {}): Job {
  const { state = 'queued', createdAt = Date.now() } = fields;
  const ended = ['succeeded', 'failed', 'cancelled', 'expired'].includes(state);
  const job = {
    id: `job_${randomUUID()}`,
    token: 'tests',
    tokenId: null,
    state,
    request: { prompt: 'x' },
    priority: 'normal',
    profile: 'default',
    sessionId: null,
    ownSession: false,
    promptId: null,
    metadata: {},
    timeout: 1_000,
    maxAttempts: 3,
    createdAt,
    startedAt: ended ? createdAt : null,
    endedAt: ended ? createdAt : null,
    notBefore: null,
    expiresAt: null,
    attempts: [],
    restarts: 0,
    parkings: 0,
    parked: null,
    dueAt: createdAt,
    owner: null,
    result: null,
    error: state === 'failed' ? { code: 'turn_failed', detail: 'cannot run: a test; wait' } : null,
    notes: [],
    callback: null,
  };
  return { ...job, ...fields } as Job;
}
