/**
 * The JSON of a job, as the API answers it and as a callback sends it.
 * Invariants: the URL of the callback is shown without its path and query, which may hold a secret. The text of the
 * request is not shown. Times are ISO 8601 in UTC.
 */
import { errorTable } from '../../shared/errors.ts';
import type { Job, JobProblem } from './job.ts';

export type JobView = ReturnType<typeof viewOf>;

/** @param job a job of a list has no result: the field is absent then */
export function viewOf(job: Job) {
  return {
    id: job.id,
    state: job.state,
    created_at: time(job.createdAt),
    started_at: timeOrNull(job.startedAt),
    ended_at: timeOrNull(job.endedAt),
    not_before: timeOrNull(job.notBefore),
    expires_at: timeOrNull(job.expiresAt),
    priority: job.priority,
    profile: job.profile,
    session_id: job.sessionId,
    metadata: job.metadata,
    attempts: job.attempts.map(({ startedAt, endedAt, outcome }) => ({
      started_at: time(startedAt),
      ended_at: timeOrNull(endedAt),
      outcome,
    })),
    parked: job.parked && { reason: job.parked.reason, until: timeOrNull(job.parked.until) },
    ...(job.result ? { result: job.result } : {}),
    ...(job.error ? { error: problemOf(job.error) } : {}),
    notes: job.notes,
    callback: job.callback && {
      url: withoutSecrets(job.callback.url),
      state: job.callback.state,
      attempts: job.callback.attempts,
      last_status: job.callback.lastStatus,
      last_error: job.callback.lastError,
      delivered_at: timeOrNull(job.callback.deliveredAt),
    },
  };
}

/** The error with all members of a problem (RFC 9457), in their usual sequence. */
function problemOf(error: JobProblem) {
  const { title, status, retryable } = Object.hasOwn(errorTable, error.code)
    ? errorTable[error.code as keyof typeof errorTable]
    : errorTable.internal;
  return { type: 'about:blank', title, status, retryable, ...error };
}

/** The scheme and the host of a URL. Paths and queries of callbacks hold secrets, such as the id of an execution. */
export function withoutSecrets(url: string): string {
  const parsed = URL.parse(url);
  return parsed ? `${parsed.protocol}//${parsed.host}/[redacted]` : '[redacted]';
}

function time(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

function timeOrNull(milliseconds: number | null): string | null {
  return milliseconds === null ? null : time(milliseconds);
}
