/**
 * Serves a request of one of the APIs for other clients: reads it, runs it as a conversation, and writes the reply.
 * Invariants: a stream begins with the first event of the turn, so an earlier error has its own status. A client that
 * closes the connection interrupts its turn. Nothing of the body is logged.
 */
import { randomBytes } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { BerthError } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';
import { formatSize } from '../../../shared/units.ts';
import type {
  ConversationRequest,
  Conversations,
  Reply,
} from '../../conversations/conversations.ts';
import { validTraceparent } from '../../prompts/prompt.ts';
import { noUsage } from '../../sessions/session-record.ts';
import { callerGone } from '../caller-gone.ts';
import { fromThrown } from '../problems.ts';
import { EventStream } from '../sse.ts';
import type { CompatibleApi, ReplyFrame } from './api.ts';
import { toErrorBody } from './error-shapes.ts';

export interface CompatibleParts {
  conversations: Conversations;
  /** Bytes that the texts of a request may have; the limit of a body allows for files too. */
  maxPromptBytes: number;
  log: Log;
}

type CompatibleRequest = FastifyRequest<{ Body: Readonly<Record<string, unknown>> }>;

/** Characters of the header with warnings. */
const longestWarning = 2_000;

const noIdempotency = 'Idempotency-Key: it has no effect here; send the prompt to /v1/prompts';

/** @returns the reply if the answer was sent as a stream */
export async function serveConversation(
  api: CompatibleApi,
  { conversations, maxPromptBytes, log }: CompatibleParts,
  request: CompatibleRequest,
  reply: FastifyReply,
): Promise<Record<string, unknown> | FastifyReply> {
  const { body, token, tokenId, headers } = request;
  const { conversation, streams, isContinuable, isProbe, warnings } = api.read(body);
  assertTextSize(conversation, maxPromptBytes);
  const frame: ReplyFrame = {
    id: `${api.idPrefix}${randomBytes(16).toString('hex')}`,
    model: conversation.model,
    created: Math.floor(Date.now() / 1_000),
    body,
  };
  reply.raw.setHeader('request-id', frame.id);
  reply.raw.setHeader('x-request-id', frame.id);
  const keyed = headers['idempotency-key'] === undefined ? [] : [noIdempotency];
  warn(reply, [...warnings, ...keyed]);
  const asked: ConversationRequest = {
    ...conversation,
    response: isContinuable ? frame.id : undefined,
    ...{ token, tokenId, traceparent: validTraceparent(headers.traceparent) },
  };
  const gone = callerGone(reply);
  const cut = (backlog: number): void => {
    const text = 'a client was cut off that does not read its stream';
    log.warn('reader_cut', text, { token, backlog_bytes: backlog });
  };
  const run = async (stream?: Parameters<Conversations['run']>[2]): Promise<Reply> => {
    if (!isProbe) {
      return conversations.run(asked, gone, stream).catch((error: unknown) => {
        throw inNamesOf(api, error);
      });
    }
    stream?.text(probeReply.text);
    return probeReply;
  };
  if (!streams) return api.whole(frame, await run());
  await streamReply(api, frame, run, reply, cut);
  return reply;
}

async function streamReply(
  api: CompatibleApi,
  frame: ReplyFrame,
  run: (stream: Parameters<Conversations['run']>[2]) => Promise<Reply>,
  reply: FastifyReply,
  cut: (backlog: number) => void,
): Promise<void> {
  const writer = api.stream(frame);
  // Nothing of the request is serialised within the turn.
  const opening = writer.begin();
  let events: EventStream | undefined;
  const begun = (): EventStream => {
    if (events) return events;
    reply.hijack();
    events = new EventStream(reply.raw, cut);
    events.frame(opening);
    return events;
  };
  try {
    const answered = await run({
      alive: () => void begun(),
      text: (delta) => begun().frame(writer.delta(delta)),
    });
    begun().frame(writer.end(answered));
  } catch (error) {
    if (!events) throw error;
    events.frame(writer.fail(toErrorBody(fromThrown(error), api.shape)));
  } finally {
    events?.end();
  }
}

/** An error that names the field of the client's request instead of berth's. */
function inNamesOf({ fieldNames }: CompatibleApi, error: unknown): unknown {
  if (!(error instanceof BerthError)) return error;
  const { field } = error.details;
  const name =
    typeof field === 'string' && Object.hasOwn(fieldNames, field) ? fieldNames[field] : undefined;
  if (name === undefined) return error;
  return new BerthError(error.code, error.message.replace(`"${field}"`, `"${name}"`), {
    cause: error,
    details: { ...error.details, field: name },
  });
}

/** @throws BerthError `payload_too_large` */
function assertTextSize(
  { instructions = '', messages }: Pick<ConversationRequest, 'instructions' | 'messages'>,
  most: number,
): void {
  const bytes = messages.reduce(
    (sum, { text }) => sum + Buffer.byteLength(text),
    Buffer.byteLength(instructions),
  );
  if (bytes <= most) return;
  throw new BerthError(
    'payload_too_large',
    `cannot read the request: its texts have more than ${formatSize(most)}; begin a new conversation, put large input into files of the workspace, or raise BERTH_MAX_PROMPT_BYTES`,
  );
}

/** Adds the header `berth-warning`; a header has printable ASCII only. */
function warn(reply: FastifyReply, warnings: readonly string[]): void {
  if (warnings.length === 0) return;
  const text = warnings.join('; ').replaceAll(/[^\x20-\x7e]/g, '?');
  reply.raw.setHeader('berth-warning', text.slice(0, longestWarning));
}

/** The reply to a request that only tests the connection; it costs nothing. */
const probeReply: Reply = {
  text: 'ok',
  answer: {
    id: 'none',
    session_id: '',
    profile: '',
    result: 'ok',
    is_error: false,
    stop_reason: 'max_tokens',
    usage: noUsage,
    cost_usd: 0,
    num_turns: 0,
    duration_ms: 0,
    queued_ms: 0,
    ttft_ms: null,
    permission_denials: [],
    warnings: [
      'answered without a prompt, because a request for 1 token only tests the connection',
    ],
    recycled: 0,
    recycle_reason: null,
  },
};
