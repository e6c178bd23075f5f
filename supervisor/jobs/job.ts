/**
 * A job: a prompt that berth has accepted and will run to its end, over restarts and limits. This file has the shape of a
 * job and the table of its states.
 * Invariants: the state changes only in `become`, along the table below. A job that has ended has either a result or an
 * error, and an end time. Times are milliseconds since 1970.
 */
import { randomUUID } from 'node:crypto';
import { BerthError } from '../../shared/errors.ts';
import type { Approval } from '../approvals/approval.ts';
import type { Answer } from '../prompts/answer.ts';
import type { StoredRequest } from './stored-request.ts';

/** The states of a job, and which states may follow each of them. */
export const jobTransitions = {
  /** The job waits for its `not_before`. */
  scheduled: ['queued', 'failed', 'cancelled', 'expired'],
  /** The job waits for a worker. */
  queued: ['running', 'parked', 'failed', 'cancelled', 'expired'],
  /** A replica runs the job. */
  running: ['queued', 'parked', 'succeeded', 'failed', 'cancelled', 'expired'],
  /** The job waits for the end of a limit, a pause or a similar state, and then is queued again. */
  parked: ['queued', 'failed', 'cancelled', 'expired'],
  succeeded: [],
  /** A person may ask for another run. */
  failed: ['queued'],
  cancelled: [],
  expired: [],
} as const satisfies Record<string, readonly string[]>;

export type JobState = keyof typeof jobTransitions;

export const endStates = ['succeeded', 'failed', 'cancelled', 'expired'] as const;
export type EndState = (typeof endStates)[number];

export type JobPriority = 'normal' | 'background';

export interface JobAttempt {
  startedAt: number;
  /** Null while the attempt runs. */
  endedAt: number | null;
  /** `succeeded`, or the code of the error that ended it; null while the attempt runs. */
  outcome: string | null;
}

/** Why a job waits, and until when it waits at most; `until` is null if no time is known. */
export interface Parked {
  /** The code of the error that the prompt would have ended with, such as `usage_limit`. */
  reason: string;
  until: number | null;
  /** The replica whose process waits for an approval; absent without such a process. */
  holder?: string | undefined;
}

/** The state of the message that reports the end of a job to its caller. */
export interface Callback {
  /** As received, byte for byte. A secret: it is redacted in logs, lists and problems. */
  url: string;
  /** `waiting`: the job has not ended; `pending`: the message is to be delivered. */
  state: 'waiting' | 'pending' | 'delivered' | 'failed';
  /** Requests so far, for this end of the job. */
  attempts: number;
  /** Answers in a row that make a retry senseless, such as 404; absent means 0. */
  refused?: number | undefined;
  /** Answers 409 so far; absent means 0. */
  conflicts?: number | undefined;
  /** The HTTP status of the last request; null without an answer. */
  lastStatus: number | null;
  /** The cause of the last failure, for people; null if there was none. */
  lastError: string | null;
  deliveredAt: number | null;
  /** When the next request is due; null unless `pending`. */
  nextAt: number | null;
}

/** An error as callers see it (RFC 9457). */
export interface JobProblem {
  code: string;
  detail: string;
  [extension: string]: unknown;
}

export interface Job {
  /** `job_` and a UUID of version 7, so that ids sort by creation. */
  id: string;
  /** The name of the caller's token: the job belongs to it. */
  token: string;
  /** The id of the token among the tokens of that name; null if it cannot be revoked. */
  tokenId: string | null;
  state: JobState;
  request: StoredRequest;
  priority: JobPriority;
  /** The profile that the request resolved to when it was accepted. */
  profile: string;
  /** The session that the job continues, or has begun; null before that. */
  sessionId: string | null;
  /** Whether the caller named that session: then the job runs where the session is. */
  ownSession: boolean;
  /** The id with which the turn was sent to the CLI last; null if none was sent. */
  promptId: string | null;
  metadata: Record<string, string>;
  /** The most milliseconds of one run. */
  timeout: number;
  /** The most attempts that may fail. */
  maxAttempts: number;
  createdAt: number;
  startedAt: number | null;
  endedAt: number | null;
  notBefore: number | null;
  expiresAt: number | null;
  /** Attempts that count. A run that ends with a limit, a drain or a restart does not count. */
  attempts: JobAttempt[];
  /** Runs that were lost with their replica, counted when the job is queued again; bounded, since a job may be the cause of the loss. */
  restarts: number;
  /** How often the job was parked: the pauses grow with it where no end is known. */
  parkings: number;
  parked: Parked | null;
  /** When the job may run: its `notBefore`, or the end of its parking or of a pause between attempts. */
  dueAt: number;
  /** The replica that runs the job; null unless `running`. */
  owner: string | null;
  /** The claim whose run alone may change the job; absent unless a run is in progress, or waits for an approval. */
  claim?: string | undefined;
  result: (Answer & { metadata?: Record<string, string> }) | null;
  error: JobProblem | null;
  /** For people: for example that the session was lost and the job began a new one. */
  notes: string[];
  callback: Callback | null;
  /** The approvals of the turn, in the sequence of their questions; absent: none. */
  approvals?: Approval[] | undefined;
}

/** Fields that change together with the state. */
export type JobChange = Partial<Omit<Job, 'id' | 'token' | 'state' | 'request' | 'createdAt'>>;

/**
 * The job in another state. Sets what follows from the state: `parked`, `owner`, `startedAt`, `endedAt`, and the callback,
 * which is due from the end of the job, and begins anew if the job runs again.
 * @throws BerthError `internal` if the table above does not allow the state
 */
export function become(job: Job, state: JobState, now: number, change: JobChange = {}): Job {
  const allowed: readonly JobState[] = jobTransitions[job.state];
  if (!allowed.includes(state)) {
    throw new BerthError(
      'internal',
      `cannot make ${job.id} ${state}: it is ${job.state}; this is a bug in berth, please report it`,
    );
  }
  const ended = isEnd(state);
  const { claim: _, ...rest } = job;
  return {
    ...rest,
    startedAt: state === 'running' ? (job.startedAt ?? now) : job.startedAt,
    endedAt: ended ? now : null,
    parked: null,
    owner: null,
    ...(job.callback && { callback: callbackOf(job.callback, ended ? now : null) }),
    ...change,
    state,
  };
}

/** The queued job, which runs from now on under a claim of its own. */
export function claimed(job: Job, owner: string, now: number): Job {
  return become(job, 'running', now, { owner, claim: randomUUID() });
}

export function isEnd(state: JobState): state is EndState {
  return (endStates as readonly string[]).includes(state);
}

/** @param dueAt null: the job has not ended */
function callbackOf({ url }: Callback, dueAt: number | null): Callback {
  return {
    ...{ url, state: dueAt === null ? 'waiting' : 'pending', nextAt: dueAt },
    ...{ attempts: 0, lastStatus: null, lastError: null, deliveredAt: null },
  };
}
