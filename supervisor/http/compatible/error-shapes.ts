/**
 * Errors in the shapes of Anthropic's and OpenAI's APIs.
 * Invariant: an error that would only be repeated has status 400, or another that no library repeats, and
 * `x-should-retry: false`. The libraries repeat a request on 5xx and 429, some of them on each status that they do not
 * know, without reading the header, and each repetition would be paid for.
 */
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { type BerthError, type ErrorCode, errorTable } from '../../../shared/errors.ts';
import { setErrorHeaders, toProblem } from '../problems.ts';

export type ErrorShape = 'anthropic' | 'openai';

const berth = z
  .looseObject({ code: z.string(), retryable: z.boolean() })
  .describe('The code of berth, and whether the same request can succeed later');

/** For the OpenAPI document. */
export const errorSchemas = {
  anthropic: z
    .object({
      type: z.literal('error'),
      error: z.object({ type: z.string(), message: z.string(), berth }),
    })
    .describe("An error of Anthropic's API"),
  openai: z
    .object({
      error: z.object({
        message: z.string(),
        type: z.string(),
        param: z.string().nullable(),
        code: z.string(),
        berth,
      }),
    })
    .describe("An error of OpenAI's API"),
};

const statuses: { [code in ErrorCode]?: number } = {
  model_not_found: 404,
  session_not_found: 400,
  billing_required: 402,
  internal: 500,
  // LangChain repeats a request on 499.
  interrupted: 400,
};

/** Seconds after which a client that waits itself gives up anyway. */
const longestWait = 60;

export function sendError(reply: FastifyReply, error: BerthError, shape: ErrorShape): FastifyReply {
  setErrorHeaders(reply, error);
  const wait = Number(reply.getHeader('retry-after') ?? 0);
  // An interrupted turn was paid for, and a library would pay again.
  const isFree = error.retryable && error.code !== 'interrupted';
  return reply
    .header('x-should-retry', String(isFree && wait <= longestWait))
    .code(statusIn(error.code, shape))
    .type('application/json; charset=utf-8')
    .serializer((body: unknown) => JSON.stringify(body))
    .send(toErrorBody(error, shape));
}

/** The body of an error, also for the error of a stream. */
export function toErrorBody(error: BerthError, shape: ErrorShape): Record<string, unknown> {
  const { type: _, title: __, status: ___, detail, code, ...more } = toProblem(error);
  const status = statusIn(error.code, shape);
  const berth = { code, ...more };
  if (shape === 'anthropic') {
    const isOfRequest = error.status < 499 || status >= 500;
    const type = isOfRequest ? anthropicType(status) : 'api_error';
    return { type: 'error', error: { type, message: detail, berth } };
  }
  const { field } = error.details;
  const param = typeof field === 'string' ? field : null;
  const named = openaiCodes[error.code] ?? code;
  return { error: { message: detail, type: openaiType(status), param, code: named, berth } };
}

/** The HTTP status of a code in that API. */
export function statusIn(code: ErrorCode, shape: ErrorShape): number {
  const { status, retryable } = errorTable[code];
  if (code === 'overloaded' && shape === 'anthropic') return 529;
  const own = statuses[code];
  if (own !== undefined) return own;
  return !retryable && (status >= 500 || status === 422) ? 400 : status;
}

const anthropicTypes: Record<number, string> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  405: 'invalid_request_error',
  408: 'timeout_error',
  409: 'invalid_request_error',
  413: 'request_too_large',
  415: 'invalid_request_error',
  429: 'rate_limit_error',
  431: 'invalid_request_error',
  504: 'timeout_error',
  529: 'overloaded_error',
};

function anthropicType(status: number): string {
  return anthropicTypes[status] ?? 'api_error';
}

function openaiType(status: number): string {
  if (status === 429) return 'rate_limit_error';
  if (status === 401) return 'authentication_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}

/** Names that clients of OpenAI's API know; other codes are those of berth. */
const openaiCodes: { [code in ErrorCode]?: string } = {
  unauthorized: 'invalid_api_key',
  token_revoked: 'invalid_api_key',
  model_not_found: 'model_not_found',
  profile_not_found: 'model_not_found',
  session_not_found: 'previous_response_not_found',
  prompt_too_large: 'context_length_exceeded',
  rate_limited: 'rate_limit_exceeded',
  usage_limit: 'insufficient_quota',
  quota_reserved: 'insufficient_quota',
  daily_budget_exceeded: 'insufficient_quota',
};
