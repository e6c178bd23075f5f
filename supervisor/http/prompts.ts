/** `POST /v1/prompts`: one prompt, answered as JSON or as a stream of events. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { Log } from '../../shared/log.ts';
import type { Intake, Prompt, PromptRequest } from '../prompts/prompt.ts';
import type { RunsPrompts } from '../prompts/prompts.ts';
import { validTraceparent } from '../prompts/traceparent.ts';
import { readHeartbeat, withHeartbeat } from './heartbeat.ts';
import { type Idempotency, readKey } from './idempotency.ts';
import { promptProblems } from './openapi.ts';
import { fromThrown, problemSchema, toProblem } from './problems.ts';
import { answerSchema, type PromptBody, promptSchema } from './prompt-schema.ts';
import { EventStream } from './sse.ts';

export interface PromptRoutesOptions {
  intake: Intake;
  sessions: RunsPrompts;
  idempotency: Idempotency;
  /** Bytes that the body of a prompt may have. */
  maxPromptBytes: number;
  log: Log;
}

export function promptRoutes(server: FastifyInstance, options: PromptRoutesOptions): void {
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
      const { metadata } = request.body;
      const gone = callerGone(reply);
      const heartbeat = readHeartbeat(request.body.heartbeat);
      const prompt = await options.intake.resolve(requestOf(request, request.body));
      const runs = onceOnly(request, reply, options);
      if (wantsEvents(request)) {
        await stream(runs, prompt, metadata, gone, reply, options.log);
        return reply;
      }
      const answer = runs
        .run(prompt, gone, () => {})
        .then((body) => (metadata ? { ...body, metadata } : body));
      return heartbeat === undefined ? answer : withHeartbeat(reply, heartbeat, answer);
    },
  });
}

function requestOf({ token, tokenId, headers }: FastifyRequest, body: PromptBody): PromptRequest {
  const { prompt: text, session_id, fork, profile, on_limit, on_recycle } = body;
  const { model, append_system_prompt, allowed_tools, max_turns, max_budget_usd } = body;
  const { output_schema, timeout } = body;
  return {
    text,
    sessionId: session_id,
    fork: fork ?? false,
    profile,
    fields: {
      ...{ model, append_system_prompt, allowed_tools, max_turns, max_budget_usd },
      ...{ output_schema, timeout },
    },
    onLimit: on_limit ?? 'fail',
    onRecycle: on_recycle ?? 'continue',
    token,
    tokenId,
    traceparent: validTraceparent(headers.traceparent),
  };
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
  log: Log,
): Promise<void> {
  const cut = (backlog: number): void => {
    log.warn('reader_cut', 'a client was cut off that does not read its stream', {
      token: prompt.token,
      backlog_bytes: backlog,
    });
  };
  let events: EventStream | undefined;
  const send = (event: string, data: unknown): void => {
    if (!events) {
      reply.hijack();
      events = new EventStream(reply.raw, cut);
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

/** Aborts when the client closes the connection before it has its answer. */
function callerGone(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort();
  });
  return gone.signal;
}
