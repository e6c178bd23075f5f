/** `POST /v1/prompts` with `Prefer: respond-async` (RFC 7240): the body becomes a job. */
import type { FastifyReply } from 'fastify';
import { BerthError } from '../../shared/errors.ts';
import type { Caller } from './job-fields.ts';
import { jobFields, jobSchema, type PromptOrJobBody } from './job-schema.ts';
import { acceptJob, type JobParts } from './jobs.ts';

/** Whether the header has the preference `respond-async`, with or without parameters. */
export function wantsJob(header: unknown): boolean {
  const preferences = (Array.isArray(header) ? header.join(',') : String(header ?? '')).split(',');
  return preferences.some((each) => /^\s*respond-async\s*(;|$)/i.test(each));
}

/** @throws BerthError as `acceptJob`; `invalid_request` for a field that a job cannot have */
export function promptAsJob(
  parts: JobParts,
  request: Caller & { body: PromptOrJobBody },
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { success, data: body, error } = jobSchema.safeParse(request.body);
  if (!success) {
    const issues = error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
    const field = error.issues[0]?.path.join('.');
    throw new BerthError(
      'invalid_request',
      `cannot make a job of the prompt: ${issues.join('; ').slice(0, 600)}; see POST /v1/jobs in /openapi.json`,
      { details: { field } },
    );
  }
  const { token, tokenId, headers } = request;
  reply.header('preference-applied', 'respond-async');
  return acceptJob(parts, { token, tokenId, headers, body }, reply);
}

/** @throws BerthError `invalid_request` for a field that only a job has */
export function assertNoJobFields(body: PromptOrJobBody): void {
  const [field] = Object.keys(jobFields).filter((name) => name in body);
  if (field === undefined) return;
  throw new BerthError(
    'invalid_request',
    `cannot use "${field}": only a job has it; send the prompt to POST /v1/jobs, or with the header "Prefer: respond-async"`,
    { details: { field } },
  );
}
