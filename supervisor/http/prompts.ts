/** `POST /v1/prompts`: one prompt, answered as JSON or as a stream of events. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { BerthError } from '../../shared/errors.ts';
import { formatDuration, parseDuration } from '../../shared/units.ts';
import type { RunsPrompts } from '../sessions/admission.ts';
import type { Prompt } from '../sessions/sessions.ts';
import { validTraceparent } from '../sessions/traceparent.ts';
import { type Idempotency, readKey } from './idempotency.ts';
import { promptProblems } from './openapi.ts';
import { fromThrown, problemSchema, toProblem } from './problems.ts';
import { EventStream } from './sse.ts';

const promptSchema = z
  .strictObject({
    prompt: z
      .string({ error: 'expected a text' })
      .refine((text) => text.trim() !== '', { error: 'it is empty' })
      .describe('What to do or answer'),
    session_id: z
      .uuid({ error: 'expected the session_id of an earlier answer' })
      .optional()
      .describe('Continue this session; absent begins one'),
    timeout: z
      .string()
      .optional()
      .describe('The longest it may take, such as "90s"; at most BERTH_PROMPT_TIMEOUT'),
    metadata: z
      .record(z.string(), z.string())
      .optional()
      .describe('For the caller: returned with the answer'),
  })
  .describe('A prompt');

const count = z.number().int();

const answerSchema = z
  .object({
    id: z.string(),
    session_id: z.string().describe('Send it with the next prompt to go on'),
    result: z.string(),
    is_error: z.boolean().describe('The turn ended at a limit of its own, not with an answer'),
    stop_reason: z.string().nullable(),
    usage: z.object({
      input_tokens: count,
      output_tokens: count,
      cache_creation_input_tokens: count,
      cache_read_input_tokens: count,
    }),
    cost_usd: z.number().describe('Of this turn, at list prices'),
    num_turns: count,
    duration_ms: count.describe('From acceptance to the answer'),
    queued_ms: count,
    ttft_ms: z.number().nullable().describe('Time to the first token'),
    permission_denials: z.array(z.object({ tool_name: z.string(), tool_use_id: z.string() })),
    warnings: z.array(z.string()),
    recycled: count.describe('How often the turn was carried on in a new process'),
    metadata: z.record(z.string(), z.string()).optional(),
  })
  .describe('An answer');

export interface PromptRoutesOptions {
  sessions: RunsPrompts;
  idempotency: Idempotency;
  /** Bytes that the body of a prompt may have. */
  maxPromptBytes: number;
  /** Milliseconds that a prompt may take at most, and takes at most if it does not say. */
  promptTimeout: number;
}

export function promptRoutes(server: FastifyInstance, options: PromptRoutesOptions): void {
  const { promptTimeout } = options;
  server.withTypeProvider<ZodTypeProvider>().route({
    method: 'POST',
    url: '/v1/prompts',
    bodyLimit: options.maxPromptBytes,
    config: { problems: promptProblems, events: true },
    schema: {
      summary: 'Run one prompt',
      description:
        'With `Accept: text/event-stream` the answer is a stream of events, of which the last is `result` or `error`. A prompt whose client goes away is interrupted.',
      body: promptSchema,
      response: { 200: answerSchema, default: problemSchema },
    },
    handler: async (request, reply) => {
      const { prompt: text, session_id, timeout, metadata } = request.body;
      const prompt: Prompt = {
        text,
        sessionId: session_id,
        timeout: readTimeout(timeout, promptTimeout),
        token: request.token,
        tokenId: request.tokenId,
        traceparent: validTraceparent(request.headers.traceparent),
      };
      const runs = onceOnly(request, reply, options);
      const gone = callerGone(reply);
      if (wantsEvents(request)) {
        await stream(runs, prompt, metadata, gone, reply);
        return reply;
      }
      const answer = await runs.run(prompt, gone, () => {});
      return metadata ? { ...answer, metadata } : answer;
    },
  });
}

/**
 * The stream begins with its first event; an error before that is answered with its own status, which
 * a client sees that does not read streams.
 */
async function stream(
  sessions: RunsPrompts,
  prompt: Prompt,
  metadata: Record<string, string> | undefined,
  gone: AbortSignal,
  reply: FastifyReply,
): Promise<void> {
  let events: EventStream | undefined;
  const send = (event: string, data: unknown): void => {
    if (!events) {
      reply.hijack();
      events = new EventStream(reply.raw);
    }
    events.send(event, data);
  };
  try {
    const answer = await sessions.run(prompt, gone, ({ event, data }) => send(event, data));
    send('result', metadata ? { ...answer, metadata } : answer);
  } catch (error) {
    if (!reply.sent) throw error;
    send('error', toProblem(fromThrown(error)));
  } finally {
    if (reply.sent) events?.end();
  }
}

/** With an Idempotency-Key, prompts are run once within its window. */
function onceOnly(
  request: FastifyRequest,
  reply: FastifyReply,
  { sessions, idempotency }: PromptRoutesOptions,
): RunsPrompts {
  const header = request.headers['idempotency-key'];
  const key = readKey(header === undefined ? undefined : String(header));
  if (key === undefined) return sessions;
  return idempotency.guard(sessions, {
    token: request.token,
    key,
    payload: request.body,
    onReplay: () => reply.raw.setHeader('idempotency-replayed', 'true'),
  });
}

function wantsEvents(request: FastifyRequest): boolean {
  return request.headers.accept?.includes('text/event-stream') ?? false;
}

function readTimeout(timeout: string | undefined, longest: number): number {
  if (timeout === undefined) return longest;
  const milliseconds = parseDuration(timeout);
  if (milliseconds !== undefined && milliseconds > 0 && milliseconds <= longest)
    return milliseconds;
  throw new BerthError(
    'invalid_request',
    `cannot use the timeout ${JSON.stringify(timeout)}: expected a duration such as "90s", at most ${formatDuration(longest)}; change it or raise BERTH_PROMPT_TIMEOUT`,
  );
}

/** Aborts when the client closes the connection before it has its answer. */
function callerGone(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort();
  });
  return gone.signal;
}
