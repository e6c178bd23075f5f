/**
 * The handler of `POST /v1/prompts`: runs one prompt and answers with JSON or with a stream of events. With
 * `Prefer: respond-async` the prompt becomes a job.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Log } from '../../shared/log.ts';
import type { Answer } from '../prompts/answer.ts';
import {
  type Prompt,
  type PromptRequest,
  type PromptResolver,
  validTraceparent,
} from '../prompts/prompt.ts';
import type { RunsPrompts } from '../prompts/prompts.ts';
import { readAttachments } from './attachment-fields.ts';
import { callerGone } from './caller-gone.ts';
import { readHeartbeat, withHeartbeat } from './heartbeat.ts';
import { type Idempotency, readKey } from './idempotency.ts';
import type { PromptOrJobBody } from './job-schema.ts';
import type { JobParts } from './jobs.ts';
import { fromThrown, toProblem } from './problems.ts';
import { assertNoJobFields, promptAsJob, wantsJob } from './prompt-as-job.ts';
import { EventStream } from './sse.ts';

export interface PromptParts extends JobParts {
  promptResolver: PromptResolver;
  sessions: RunsPrompts;
  idempotency: Idempotency;
  /** Bytes that the body of a prompt may have. */
  maxPromptBytes: number;
  /** Bytes that the files of a prompt may have together. */
  maxAttachmentBytes: number;
}

type PromptHttpRequest = FastifyRequest<{ Body: PromptOrJobBody }>;

/** @returns the reply if the answer was sent as a stream, after white space, or is that of a job */
export async function runPrompt(
  parts: PromptParts,
  request: PromptHttpRequest,
  reply: FastifyReply,
): Promise<Answer | FastifyReply> {
  if (wantsJob(request.headers.prefer)) return promptAsJob(parts, request, reply);
  assertNoJobFields(request.body);
  const { metadata } = request.body;
  const gone = callerGone(reply);
  const heartbeat = readHeartbeat(request.body.heartbeat);
  const prompt = await parts.promptResolver.resolve(requestOf(request));
  const runs = onceOnly(request, reply, parts);
  if (wantsEvents(request)) {
    await stream(runs, prompt, metadata, gone, reply, parts.log);
    return reply;
  }
  const answer = runs
    .run(prompt, gone, () => {})
    .then((body) => (metadata ? { ...body, metadata } : body));
  return heartbeat === undefined ? answer : withHeartbeat(reply, heartbeat, answer);
}

function requestOf({ token, tokenId, headers, body }: PromptHttpRequest): PromptRequest {
  const { prompt: text, session_id, fork, profile, on_limit, on_recycle } = body;
  const { model, append_system_prompt, allowed_tools, max_turns, max_budget_usd } = body;
  const { output_schema, timeout, workspace, publish } = body;
  return {
    text,
    attachments: readAttachments(body.attachments),
    ...{ workspace, publish },
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
 * The stream begins with its first event. An earlier error is answered with its own status, for
 * clients that do not read streams.
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
  { sessions, idempotency }: PromptParts,
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
