/** A job that has ended, with a callback that is due. */
import { become, type EndState, type Job } from '../../supervisor/jobs/job.ts';

let created = 0;

/** @param now when the job ended, in milliseconds since 1970 */
export function endedJob(url: string, now: number, state: EndState = 'succeeded'): Job {
  return become(runningJob(url, now), state, now, {
    ...(state === 'failed' ? { error: { code: 'worker_lost', detail: 'lost' } } : {}),
  });
}

export function runningJob(url: string, now: number): Job {
  created += 1;
  return {
    id: `job_00000000-0000-7000-8000-${String(created).padStart(12, '0')}`,
    ...{ token: 'n8n', tokenId: null, state: 'running', request: { prompt: 'a' } },
    ...{ priority: 'normal', profile: 'default', sessionId: null, ownSession: false },
    ...{ promptId: null, metadata: { execution: '7' }, timeout: 1_000, maxAttempts: 3 },
    ...{ createdAt: now, startedAt: now, endedAt: null, notBefore: null, expiresAt: null },
    ...{
      attempts: [],
      restarts: 0,
      parkings: 0,
      parked: null,
      dueAt: now,
      owner: 'me',
      result: null,
      error: null,
    },
    notes: [],
    callback: {
      ...{ url, state: 'waiting', attempts: 0, lastStatus: null, lastError: null },
      ...{ deliveredAt: null, nextAt: null },
    },
  };
}
