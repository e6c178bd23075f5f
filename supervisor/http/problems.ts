/** Errors as `application/problem+json` (RFC 9457), with a stable code and whether to try again. */
import type { FastifyError, FastifyReply } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { asBerthError, BerthError, errorTable } from '../../shared/errors.ts';
import { redact } from '../../shared/redact.ts';

export const problemSchema = z
  .looseObject({
    type: z.string(),
    title: z.string(),
    status: z.number(),
    code: z.enum(Object.keys(errorTable) as [keyof typeof errorTable]),
    retryable: z.boolean(),
    detail: z.string().describe('What failed, why, and what to do'),
    session_id: z.string().optional(),
    retry_after: z.number().optional().describe('Seconds after which to try again, where known'),
    resets_at: z.string().optional().describe("When the account's limit ends (ISO 8601)"),
    cost_usd: z.number().optional().describe('What the turn has cost although it failed'),
    result: z.string().optional().describe('What the turn gave before it ended at a limit'),
  })
  .describe('An error (RFC 9457)');

export interface Problem {
  type: string;
  title: string;
  status: number;
  code: string;
  retryable: boolean;
  detail: string;
  [extension: string]: unknown;
}

export function toProblem(error: BerthError): Problem {
  const { title, status, retryable } = errorTable[error.code];
  return {
    type: 'about:blank',
    title,
    status,
    code: error.code,
    retryable,
    detail: redact(error.message),
    ...redactTexts(error.details),
  };
}

function redactTexts(details: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(details).map(([name, value]) => [
      name,
      typeof value === 'string' ? redact(value) : value,
    ]),
  );
}

/** Whatever a handler or the framework threw, as the BerthError that it is to the client. */
export function fromThrown(thrown: unknown): BerthError {
  if (thrown instanceof BerthError) return thrown;
  if (hasZodFastifySchemaValidationErrors(thrown)) {
    const issues = thrown.validation.map(({ instancePath, message }) => {
      const field = instancePath.slice(1).replaceAll('/', '.');
      return field ? `${field}: ${message}` : `${message}`;
    });
    return new BerthError(
      'invalid_request',
      `cannot read the request: ${issues.join('; ')}; see /openapi.json`,
    );
  }
  return fromFramework(thrown as FastifyError) ?? asBerthError(thrown);
}

function fromFramework(error: FastifyError): BerthError | undefined {
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new BerthError(
        'payload_too_large',
        'cannot read the request: its body is over 1 MiB; put large input into files of the workspace',
      );
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new BerthError(
        'unsupported_media_type',
        'cannot read the request: its content type is not JSON; send content-type: application/json',
      );
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new BerthError(
        'invalid_request',
        `cannot read the request: its body is not valid JSON (${error.message}); send {"prompt": "..."}`,
      );
    default:
      if (!error.statusCode || error.statusCode >= 500) return undefined;
      return new BerthError(
        'invalid_request',
        `cannot read the request: ${error.message}; see /openapi.json`,
      );
  }
}

export function sendProblem(reply: FastifyReply, error: BerthError): FastifyReply {
  if (error.code === 'unauthorized') reply.header('www-authenticate', 'Bearer realm="berth"');
  const { retry_after: retryAfter = error.code === 'queue_full' ? 5 : undefined } = error.details;
  if (typeof retryAfter === 'number') reply.header('retry-after', String(retryAfter));
  return reply
    .code(error.status)
    .type('application/problem+json')
    .serializer((problem: unknown) => JSON.stringify(problem))
    .send(toProblem(error));
}
