/**
 * Decides what follows from the answer to a callback: delivered, another request, or the end.
 * Invariants: a pure function. 2xx is delivered; 410 ends. Redirects and other 4xx end after three in a row, except 408, 409,
 * 425 and 429. Everything else is sent again for 24 hours after the end of the job, and three times at least.
 */
import { type Backoff, backoff } from '../../../shared/backoff.ts';
import type { Callback } from '../job.ts';
import type { Answer } from './post.ts';

export type CallbackOutcome = 'delivered' | 'retried' | 'failed';

export interface Verdict {
  outcome: CallbackOutcome;
  callback: Callback;
}

export interface Moment {
  /** Milliseconds since 1970. */
  now: number;
  endedAt: number;
  random?: () => number;
}

const second = 1_000;
const hour = 3_600 * second;

const waits: Backoff = { first: 5 * second, longest: hour, jitter: 0.3 };
const giveUpAfter = 24 * hour;
const leastAttempts = 3;
const mostRefused = 3;
/** The longest wait that Retry-After can ask for, in milliseconds. */
const longestRetryAfter = hour;
/**
 * n8n answers 409 until the execution has arrived at its Wait node. So many answers 409 are each followed by a request after
 * one second; later ones by the usual waits.
 */
const quickConflicts = 120;
/** Answers of the 4xx after which a later request can succeed. */
const passing = [408, 409, 425, 429];

/** @param answer undefined: there was no answer, because of `cause` */
export function judge(
  callback: Callback,
  answer: Answer | undefined,
  cause: string,
  moment: Moment,
): Verdict {
  const status = answer?.status ?? null;
  const tried: Callback = {
    ...callback,
    ...{ attempts: callback.attempts + 1, lastStatus: status, lastError: cause },
  };
  const end = (lastError: string): Verdict => ({
    outcome: 'failed',
    callback: { ...tried, state: 'failed', nextAt: null, lastError },
  });
  if (answer && answer.status >= 200 && answer.status < 300) {
    const delivered = { state: 'delivered', deliveredAt: moment.now, nextAt: null } as const;
    return { outcome: 'delivered', callback: { ...tried, ...delivered, lastError: null } };
  }
  if (status === 410) return end('the receiver answered 410: it wants no more callbacks');
  if (status === 409 && /has finished already/.test(answer?.text ?? '')) {
    return end('n8n answered 409: the execution has finished already');
  }
  const refuses = status !== null && status >= 300 && status < 500 && !passing.includes(status);
  const refused = refuses ? (callback.refused ?? 0) + 1 : 0;
  const conflicts = (callback.conflicts ?? 0) + (status === 409 ? 1 : 0);
  if (refused >= mostRefused) return end(`${cause}, ${refused} times in a row`);
  const wait = waitOf({ ...tried, conflicts }, answer, moment);
  if (moment.now + wait > moment.endedAt + giveUpAfter && tried.attempts >= leastAttempts) {
    return end(`${cause}; no request succeeded within 24 hours`);
  }
  return {
    outcome: 'retried',
    callback: { ...tried, refused, conflicts, nextAt: moment.now + wait },
  };
}

/** The cause for people, of an answer that is not 2xx. */
export function causeOf({ status }: Answer): string {
  if (status >= 300 && status < 400) {
    return `the receiver answered ${status}, and redirects are not followed`;
  }
  return `the receiver answered ${status}`;
}

function waitOf(
  { attempts, lastStatus, conflicts = 0 }: Callback,
  answer: Answer | undefined,
  { now, random }: Moment,
): number {
  const asked = Math.min(milliseconds(answer?.retryAfter, now), longestRetryAfter);
  if (lastStatus === 409 && conflicts <= quickConflicts) return Math.max(second, asked);
  const failures = Math.max(1, attempts - Math.min(conflicts, quickConflicts));
  return Math.max(Math.round(backoff(failures, waits, random)), asked);
}

/** The wait that Retry-After asks for: seconds, or an HTTP date; 0 for none, or for another text. */
function milliseconds(retryAfter: string | undefined, now: number): number {
  if (retryAfter === undefined) return 0;
  if (/^\d{1,9}$/.test(retryAfter)) return Number(retryAfter) * second;
  // Date.parse alone reads almost any text.
  const date = /^\w{3}, .+ GMT$/.test(retryAfter) ? Date.parse(retryAfter) : Number.NaN;
  return Math.max(0, (date || 0) - now);
}
