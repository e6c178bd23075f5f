/** Jobs for tests of the stores. */
import type { Job } from '../../supervisor/jobs/job.ts';

let last = 0;

/** Begins a test's jobs: ids grow with each job, as UUIDs of version 7 do. */
export function jobId(): string {
  const count = (++last).toString(16).padStart(12, '0');
  return `job_01999999-0000-7000-8000-${count}`;
}

/** A queued job of the token `ci`, due since 1,000, with these fields. */
export function sampleJob(fields: Partial<Job> = {}): Job {
  const createdAt = fields.createdAt ?? 1_000;
  return {
    id: jobId(),
    token: 'ci',
    tokenId: null,
    state: 'queued',
    request: { prompt: 'Review the change.', profile: 'review' },
    priority: 'normal',
    profile: 'review',
    sessionId: null,
    ownSession: false,
    promptId: null,
    metadata: {},
    timeout: 60_000,
    maxAttempts: 3,
    createdAt,
    startedAt: null,
    endedAt: null,
    notBefore: null,
    expiresAt: null,
    attempts: [],
    restarts: 0,
    parkings: 0,
    parked: null,
    dueAt: createdAt,
    owner: null,
    result: null,
    error: null,
    notes: [],
    callback: null,
    ...fields,
  };
}

/** A callback whose job has not ended. */
export const waitingCallback: NonNullable<Job['callback']> = {
  url: 'https://n8n.example/webhook-waiting/7?signature=secret',
  state: 'waiting',
  attempts: 0,
  lastStatus: null,
  lastError: null,
  deliveredAt: null,
  nextAt: null,
};

/** The result of a job, with an answer of that text. */
export function sampleResult(text = 'Looks good.'): NonNullable<Job['result']> {
  return {
    id: '01999999-0000-7000-8000-000000000001',
    session_id: '6f1c0a4e-0000-4000-8000-000000000001',
    profile: 'review',
    result: text,
    is_error: false,
    stop_reason: 'end_turn',
    usage: {
      input_tokens: 1,
      output_tokens: 1,
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: 0,
    },
    cost_usd: 0.01,
    num_turns: 1,
    duration_ms: 100,
    queued_ms: 0,
    ttft_ms: 50,
    permission_denials: [],
    warnings: [],
    recycled: 0,
    recycle_reason: null,
  };
}
