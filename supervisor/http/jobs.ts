/**
 * The handlers of `/v1/jobs`, and of `POST /v1/prompts` with `Prefer: respond-async`.
 * Invariants: an accepted job is durable before its 202 is sent. A job of another token does not exist for the caller.
 * An answer that waits for a job ends at a bound, when the client disconnects, and when the server begins to stop.
 */
import type { FastifyReply } from 'fastify';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { parseDuration } from '../../shared/units.ts';
import type { Job, JobState } from '../jobs/job.ts';
import { viewOf } from '../jobs/job-view.ts';
import type { Jobs } from '../jobs/jobs.ts';
import { audit } from './admin.ts';
import { callerGone } from './caller-gone.ts';
import { type Caller, keyOf, readNewJob } from './job-fields.ts';
import { type JobBody, jobsQuerySchema, mostKeys } from './job-schema.ts';
import { readEnded } from './job-watch.ts';

export interface JobParts {
  jobs: Pick<
    Jobs,
    | 'accept'
    | 'findByKey'
    | 'read'
    | 'readHead'
    | 'list'
    | 'cancel'
    | 'retry'
    | 'remove'
    | 'events'
    | 'onChange'
  >;
  /** @throws BerthError `invalid_request` if callbacks to this URL are not allowed */
  checkCallback: (url: string) => Promise<void> | void;
  /** Aborts when the server begins to stop. */
  stopping: AbortSignal;
  log: Log;
}

interface JobRequest {
  /** The name of the caller's token. */
  token: string;
  params: { id: string };
}

/** Milliseconds of a long poll at most: proxies seldom allow more. */
const longestPoll = 5 * 60_000;

/** @throws BerthError as `Jobs.accept` */
export async function acceptJob(
  parts: JobParts,
  request: Caller & { body: JobBody },
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { job, created } = await accept(parts, request.body, request);
  return sendAccepted(reply, job, created);
}

/**
 * Accepts a job, or finds the job of an earlier request with the same key.
 * @throws BerthError as `Jobs.accept`
 */
export async function accept(
  { jobs, checkCallback, log }: JobParts,
  body: JobBody,
  caller: Caller,
): Promise<{ job: Job; created: boolean }> {
  const key = keyOf(body, caller);
  const earlier = key && (await jobs.findByKey(caller.token, key));
  if (earlier) return { job: earlier, created: false };
  const fields = readNewJob(body, caller, Date.now());
  if (fields.callbackUrl !== undefined) await checkCallback(fields.callbackUrl);
  const { job, created } = await jobs.accept(fields, key);
  if (created) {
    const { id: job_id, state, token, profile, priority } = job;
    log.info('job_accepted', 'accepted a job', { job_id, state, token, profile, priority });
  }
  return { job, created };
}

/** @throws BerthError `job_not_found`, `invalid_request` */
export async function showJob(
  { jobs, stopping }: JobParts,
  { token, params: { id }, query }: JobRequest & { query: { wait?: string | undefined } },
  reply: FastifyReply,
): Promise<FastifyReply> {
  const wait = readWait(query.wait);
  if (wait === 0) return sendJob(reply, await jobs.read(id, token));
  const over = AbortSignal.any([stopping, callerGone(reply), AbortSignal.timeout(wait)]);
  return sendJob(reply, await readEnded(jobs, id, token, over));
}

/** @throws BerthError `invalid_request` */
export async function listJobs(
  { jobs }: JobParts,
  { token, query }: { token: string; query: Record<string, unknown> },
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { state, profile, limit, cursor, ...rest } = jobsQuerySchema.parse(query);
  const page = await jobs.list({
    ...{ token, profile, limit, cursor },
    states: state === undefined ? undefined : (state.split(',') as JobState[]),
    metadata: metadataOf(rest),
  });
  return asJson(reply).send({ jobs: page.jobs.map(viewOf), next: page.cursor });
}

/** @throws BerthError `job_not_found`, `job_ended` */
export async function cancelJob(
  parts: JobParts,
  { token, params: { id } }: JobRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  return sendJob(reply, await cancel(parts, id, token));
}

/** @throws BerthError `job_not_found`, `job_ended` */
export async function cancel({ jobs, log }: JobParts, id: string, token: string): Promise<Job> {
  const job = await jobs.cancel(id, token);
  log.info('job_cancelled', 'cancelled a job', { job_id: id, token, profile: job.profile });
  return job;
}

/** @throws BerthError `job_not_found`, `job_not_ended`, `job_ended` */
export async function retryJob(
  { jobs, log }: JobParts,
  { token, tokenId, params: { id } }: JobRequest & Pick<Caller, 'tokenId'>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const job = await jobs.retry(id, token, tokenId);
  log.info('job_retried', 'queued a failed job again', { job_id: id, token, profile: job.profile });
  return sendJob(reply.header('location', `/v1/jobs/${id}`), job);
}

/** @throws BerthError `job_not_found`, `job_not_ended` */
export async function removeJob(
  { jobs, log }: JobParts,
  { token, params: { id } }: JobRequest,
): Promise<null> {
  await jobs.remove(id, token);
  audit(log, token, 'job_delete', { job_id: id });
  return null;
}

/** @param created false: the job is that of an earlier request with the same key */
function sendAccepted(reply: FastifyReply, job: Job, created: boolean): FastifyReply {
  if (!created) reply.header('idempotency-replayed', 'true');
  return sendJob(reply.code(202).header('location', `/v1/jobs/${job.id}`), job);
}

/** A stored result is sent as it is: it may be of an earlier version, and large. */
function sendJob(reply: FastifyReply, job: Job): FastifyReply {
  return asJson(reply).send(viewOf(job));
}

function asJson(reply: FastifyReply): FastifyReply {
  return reply
    .type('application/json; charset=utf-8')
    .serializer((body: unknown) => JSON.stringify(body));
}

/** Milliseconds of a long poll; 0 without a text. @throws BerthError `invalid_request` */
export function readWait(text: string | undefined): number {
  if (text === undefined) return 0;
  const wait = parseDuration(text);
  // Timers refuse fractions of a millisecond.
  if (wait !== undefined) return Math.min(Math.ceil(wait), longestPoll);
  throw new BerthError(
    'invalid_request',
    `cannot wait ${JSON.stringify(text.slice(0, 40))}: it is no duration; send one such as "60s"`,
    { details: { field: 'wait' } },
  );
}

/** The filters `metadata.KEY=VALUE`. @throws BerthError `invalid_request` for any other name, and for too many */
function metadataOf(query: Record<string, unknown>): Record<string, string> | undefined {
  const count = Object.keys(query).length;
  if (count > mostKeys) {
    throw new BerthError(
      'invalid_request',
      `cannot list jobs by ${count} filters: a job has at most ${mostKeys} keys of metadata; use fewer filters`,
      { details: { field: 'metadata' } },
    );
  }
  const filters = Object.entries(query).map(([name, value]) => {
    const key = /^metadata\.(.+)$/s.exec(name)?.[1];
    if (key !== undefined && typeof value === 'string') return [key, value] as const;
    const cause = key === undefined ? 'there is no such filter' : 'it is there twice';
    throw new BerthError(
      'invalid_request',
      `cannot list jobs by ${JSON.stringify(name.slice(0, 80))}: ${cause}; use state, profile, limit, cursor, or metadata.KEY once for each key`,
      { details: { field: name.slice(0, 80) } },
    );
  });
  return filters.length > 0 ? Object.fromEntries(filters) : undefined;
}
