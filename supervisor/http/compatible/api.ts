/**
 * What the three APIs for other clients have in common for the code that serves them: a request is read into a
 * conversation, and a reply is written as JSON or as a stream.
 */
import type { ConversationRequest, Reply } from '../../conversations/conversations.ts';
import type { ErrorShape } from './error-shapes.ts';

/** A request, without what the connection says about its caller. */
export interface ReadRequest {
  conversation: Pick<
    ConversationRequest,
    'model' | 'instructions' | 'messages' | 'previous' | 'outputSchema'
  >;
  /** Whether the answer is wanted as a stream. */
  streams: boolean;
  /** Whether later requests may name the response to continue it. */
  isContinuable: boolean;
  /** Whether the request only tests the connection: it is answered without a prompt. */
  isProbe: boolean;
  /** What berth does not do as the request wants it. */
  warnings: readonly string[];
}

/** What the reply repeats of its request. */
export interface ReplyFrame {
  /** The id of the response. */
  id: string;
  /** The name of the model, as the client wrote it. */
  model: string;
  /** When the request arrived, in seconds since 1970. */
  created: number;
  body: Readonly<Record<string, unknown>>;
}

/** Writes one streamed reply as text of `text/event-stream`. */
export interface StreamWriter {
  begin: () => string;
  delta: (text: string) => string;
  end: (reply: Reply) => string;
  /** @param error in the shape of the API */
  fail: (error: Readonly<Record<string, unknown>>) => string;
}

export interface CompatibleApi {
  shape: ErrorShape;
  /** What a request calls the fields of a prompt of berth: errors of later checks name them. */
  fieldNames: Readonly<Record<string, string>>;
  /** Before the random part of the id of a response. */
  idPrefix: string;
  /** @throws BerthError `invalid_request` for what cannot be honoured */
  read: (body: Readonly<Record<string, unknown>>) => ReadRequest;
  whole: (frame: ReplyFrame, reply: Reply) => Record<string, unknown>;
  stream: (frame: ReplyFrame) => StreamWriter;
}

/** An event of a stream, with its name. */
export function namedEvent(name: string, data: unknown): string {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** For clients that know berth: what the shape of the API has no place for. */
export function berthFields({ answer }: Reply): Record<string, unknown> {
  const { id, session_id, profile, cost_usd, num_turns, warnings } = answer;
  const { background, workspace, approvals } = answer;
  return {
    ...{ prompt_id: id, session_id, profile, cost_usd, num_turns, warnings },
    // A report of background work comes with one answer only, so it must not be dropped here.
    ...(background ? { background } : {}),
    ...(workspace ? { workspace } : {}),
    ...(approvals ? { approvals } : {}),
  };
}
