/** Errors as `application/problem+json` (RFC 9457), with a stable code and whether a retry can succeed. */
import type { FastifyError, FastifyReply } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { asBerthError, BerthError, type ErrorCode, errorTable } from '../../shared/errors.ts';
import { redact } from '../../shared/redact.ts';
import { formatSize } from '../../shared/units.ts';

export const problemSchema = z
  .looseObject({
    type: z.string().describe('Always about:blank: the code identifies the error'),
    title: z.string().describe('The same for each code'),
    status: z.number().describe('The HTTP status that belongs to the code, also within a stream'),
    code: z.enum(Object.keys(errorTable) as [ErrorCode]).describe('Stable: decide by it'),
    retryable: z.boolean().describe('Whether the same request can succeed later'),
    detail: z.string().describe('The failed action, the cause and the remedy'),
    cost_usd: z.number().optional().describe('The cost of the failed turn'),
    result: z.string().optional().describe('The text of the turn before it ended at a limit'),
    session_id: z.string().optional().describe('The session, if the prompt got that far'),
    retry_after: z.number().optional().describe('Seconds to wait, as in the header Retry-After'),
    resets_at: z.string().optional().describe('When a limit ends, ISO time'),
  })
  .describe('An error (RFC 9457)');

/** Seconds to wait, by code, if the error has no number of its own. */
const retryAfter: { [code in ErrorCode]?: number } = { queue_full: 5, draining: 5 };

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

/** The most issues that an error lists for an invalid request. */
const mostIssues = 10;
/** Characters of one issue. */
const longestIssue = 300;

/**
 * Converts what a handler or the framework threw to the BerthError that the client gets.
 * @param bodyLimit the most bytes of the body of this request
 */
export function fromThrown(thrown: unknown, bodyLimit?: number): BerthError {
  if (thrown instanceof BerthError) return thrown;
  if (hasZodFastifySchemaValidationErrors(thrown)) {
    const issues = thrown.validation.slice(0, mostIssues).map(({ instancePath, message }) => {
      const field = instancePath.slice(1).replaceAll('/', '.');
      // The path contains keys of the caller.
      return (field ? `${field}: ${message}` : `${message}`).slice(0, longestIssue);
    });
    return new BerthError(
      'invalid_request',
      `cannot read the request: ${issues.join('; ')}; see /openapi.json`,
    );
  }
  return fromFramework(thrown as FastifyError, bodyLimit) ?? asBerthError(thrown);
}

function fromFramework(error: FastifyError, bodyLimit?: number): BerthError | undefined {
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new BerthError(
        'payload_too_large',
        `cannot read the request: its body is larger than ${bodyLimit === undefined ? 'the limit' : formatSize(bodyLimit)}; put large input into files of the workspace, or raise BERTH_MAX_PROMPT_BYTES`,
      );
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new BerthError(
        'unsupported_media_type',
        'cannot read the request: its content type is not JSON; send content-type: application/json',
      );
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new BerthError(
        'invalid_request',
        `cannot read the request: its body is not valid JSON (${error.message}); correct it, see /openapi.json`,
      );
    default:
      if (!error.statusCode || error.statusCode >= 500) return undefined;
      return new BerthError(
        'invalid_request',
        `cannot read the request: ${error.message}; see /openapi.json`,
      );
  }
}

/** Sets the headers that belong to the error, whatever the form of its body. */
export function setErrorHeaders(reply: FastifyReply, error: BerthError): void {
  if (error.code === 'unauthorized') {
    reply.header('www-authenticate', 'Bearer realm="berth"').header('connection', 'close');
  }
  const seconds = error.details.retry_after ?? retryAfter[error.code];
  if (typeof seconds === 'number') reply.header('retry-after', String(Math.ceil(seconds)));
}

export function sendProblem(reply: FastifyReply, error: BerthError): FastifyReply {
  setErrorHeaders(reply, error);
  return reply
    .code(error.status)
    .type('application/problem+json')
    .serializer((problem: unknown) => JSON.stringify(problem))
    .send(toProblem(error));
}
