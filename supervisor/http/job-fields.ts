/** Reads the fields of a job from a body that its schema has accepted: times, durations, and what excludes what. */
import { BerthError } from '../../shared/errors.ts';
import { parseDuration } from '../../shared/units.ts';
import { withoutAbsent } from '../../shared/without-absent.ts';
import type { JobKey } from '../jobs/job-store.ts';
import type { NewJob } from '../jobs/jobs.ts';
import { validTraceparent } from '../prompts/prompt.ts';
import { readAttachments } from './attachment-fields.ts';
import { digestOf, readKey } from './idempotency.ts';
import type { JobBody } from './job-schema.ts';

/** Milliseconds. A job may wait for a year at most: a longer time is a mistake. */
const longestWait = 366 * 24 * 3_600_000;
const longestTimeout = 7 * 24 * 3_600_000;

export interface Caller {
  token: string;
  tokenId: string;
  headers: Readonly<Record<string, unknown>>;
}

/**
 * @param now milliseconds since 1970
 * @throws BerthError `invalid_request` with the field
 */
export function readNewJob(body: JobBody, caller: Caller, now: number): NewJob {
  const { prompt, session_id, fork, profile, model, append_system_prompt } = body;
  const { allowed_tools, max_turns, max_budget_usd, output_schema, on_recycle } = body;
  const { timeout, callback_url, priority, max_attempts, metadata, workspace, publish } = body;
  const traceparent = validTraceparent(caller.headers.traceparent);
  const notBefore = startOf(body, now);
  const expiresIn = durationOf('expires_in', body.expires_in, longestWait);
  const expiresAt = expiresIn === undefined ? undefined : now + expiresIn;
  if (expiresAt !== undefined && expiresAt <= (notBefore ?? now)) {
    const start = body.delay === undefined ? 'not_before' : 'delay';
    throw refused(
      'expires_in',
      expiresIn === 0 ? 'it is 0' : `the job would expire before its ${start}`,
      `set a time that is longer than ${expiresIn === 0 ? 'the run' : start}`,
    );
  }
  return {
    token: caller.token,
    tokenId: caller.tokenId,
    request: withoutAbsent({
      ...{ prompt, session_id, fork, profile, model, append_system_prompt, allowed_tools },
      ...{ max_turns, max_budget_usd, output_schema, on_recycle, traceparent },
      ...{ workspace, publish },
    }),
    ...{ priority, metadata, notBefore, expiresAt },
    timeout: durationOf('timeout', timeout, longestTimeout, 1_000),
    maxAttempts: max_attempts,
    callbackUrl: callback_url,
    attachments: readAttachments(body.attachments),
  };
}

/** The key of the request, if there is one. @throws BerthError `invalid_request` */
export function keyOf(body: JobBody, { headers }: Caller): JobKey | undefined {
  const header = headers['idempotency-key'];
  const key = readKey(header === undefined ? undefined : String(header));
  if (key === undefined) return undefined;
  return { key, digest: digestOf(body) };
}

/** When the job may begin; undefined for at once. */
function startOf({ not_before, delay }: JobBody, now: number): number | undefined {
  if (not_before !== undefined && delay !== undefined) {
    throw refused('delay', 'the job has a not_before too', 'send one of the two');
  }
  const wait = durationOf('delay', delay, longestWait);
  if (wait !== undefined) return wait === 0 ? undefined : now + wait;
  if (not_before === undefined) return undefined;
  const at = Date.parse(not_before);
  if (at > now + longestWait) {
    throw refused('not_before', 'it is more than a year away', 'send a time within a year');
  }
  return at > now ? at : undefined;
}

function durationOf(
  field: string,
  text: string | undefined,
  longest: number,
  shortest = 0,
): number | undefined {
  if (text === undefined) return undefined;
  const milliseconds = parseDuration(text);
  if (milliseconds !== undefined && milliseconds >= shortest && milliseconds <= longest) {
    return Math.round(milliseconds);
  }
  const shown = JSON.stringify(text.slice(0, 40));
  const bounds = `${shortest === 0 ? '' : 'at least 1s and '}at most ${longest / 86_400_000}d`;
  throw refused(field, `${shown} is no duration of ${bounds}`, 'send a duration such as "10m"');
}

function refused(field: string, cause: string, remedy: string): BerthError {
  return new BerthError('invalid_request', `cannot use "${field}": ${cause}; ${remedy}`, {
    details: { field },
  });
}
