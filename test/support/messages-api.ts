/**
 * A stand-in for Anthropic's Messages API on loopback, good enough for the real Claude Code CLI.
 * It owns the listening socket, the record of what was asked, and the choice of the answer; it
 * never leaves the machine and keeps nothing after close().
 *
 * A person's prompt scripts the answer by directives, which may be combined:
 *
 *   [[say TEXT]]              answer with exactly TEXT (it may not contain "]]")
 *   [[big BYTES]]             answer with that many bytes of text, in deltas of 8 KiB
 *   [[echo system]]           answer with all the instructions that the request carried
 *   [[slow MS]]               wait MS before the first delta and between deltas (8 in an answer)
 *   [[tool NAME {INPUT}]]     call that tool; several are called one after the other. With the
 *                             last result in, the answer quotes it, unless say or big is given
 *   [[tools endless]]         call Bash `true` again and again, for ever
 *   [[status N]]              fail every call of the turn with HTTP status N
 *   [[status N xK]]           fail the first K calls that carry this very directive, then go on;
 *                             [[status N xK #label]] is counted apart
 *   [[status N {HEADERS}]]    the same with response headers, e.g. {"retry-after":"1"};
 *                             the order is always: N, xK, #label, {HEADERS}, say MESSAGE
 *   [[error TYPE]]            begin a stream and end it with that error, e.g. overloaded_error;
 *                             also xK and #label
 *   [[headers {HEADERS}]]     more response headers on answers that succeed
 *   [[hang headers]]          accept the call and never answer
 *   [[hang stream]]           stop after the first delta, keep the connection open
 *   [[drop]]                  break the connection after the first delta
 *
 * slow, headers, error and status act on every call of a turn; say, big, echo, hang and drop on its last answer,
 * that is after the tools. Only the newest text of a person counts: what the CLI adds (reminders,
 * skill bodies, local commands) and calls on its own account (titles, summaries of pages) script
 * nothing. A directive that cannot be understood is answered with HTTP 400 and says why.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text as readText } from 'node:stream/consumers';
import { type MessageBody, parseBody, type RecordedRequest } from './messages-api/request.ts';
import { RequestLog } from './messages-api/request-log.ts';
import { type Reply, Script } from './messages-api/script.ts';
import { sendError, sendJson, sendReply } from './messages-api/send.ts';

export type { RecordedRequest } from './messages-api/request.ts';
export { promptText, systemText } from './messages-api/request.ts';
export type { Reply } from './messages-api/script.ts';

/** Decides an answer in code; undefined leaves it to the directives. A promise holds the answer back. */
export type ReplyHandler = (
  request: RecordedRequest,
) => Reply | undefined | Promise<Reply | undefined>;

export interface MessagesApi {
  /** For ANTHROPIC_BASE_URL, without a trailing slash. */
  readonly url: string;
  /** What was asked, oldest first: the latest 1,000. */
  readonly requests: readonly RecordedRequest[];
  /**
   * The first request, past or future, that satisfies the predicate, which is asked again when a
   * request's outcome changes. Rejects at the deadline (ms, by default 90,000) or on the signal.
   */
  waitForRequest(
    predicate: (request: RecordedRequest) => boolean,
    until?: AbortSignal | number,
  ): Promise<RecordedRequest>;
  /** Answers `POST /v1/messages` by code before the directives; undefined takes it back. */
  reply(handler: ReplyHandler | undefined): void;
  /** Breaks all connections, also hanging ones, and returns when the port is free. */
  close(): Promise<void>;
}

/**
 * Starts the stand-in on 127.0.0.1.
 * @param options.port 0, the default, takes a free one.
 */
export async function startMessagesApi(options: { port?: number } = {}): Promise<MessagesApi> {
  const log = new RequestLog();
  const script = new Script();
  let handler: ReplyHandler | undefined;

  async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const request: RecordedRequest = {
      method: incoming.method ?? 'GET',
      path: incoming.url ?? '/',
      headers: incoming.headers,
      body: parseBody(await readText(incoming)),
      received: Date.now(),
      // The client may have gone as soon as it had sent the body: `close` was emitted then.
      outcome: response.destroyed ? 'abandoned' : 'pending',
    };
    response.once('close', () => {
      request.outcome = response.writableFinished ? 'answered' : 'abandoned';
      log.changed(request);
    });
    log.add(request);
    await route(request, response);
  }

  async function route(request: RecordedRequest, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.path, 'http://stand-in');
    const call = `${request.method} ${pathname}`;
    if (request.method === 'HEAD') {
      response.writeHead(200).end();
    } else if (call === 'GET /v1/models') {
      sendJson(response, 200, modelList);
    } else if (call === 'POST /v1/messages/count_tokens' && request.body) {
      sendJson(response, 200, { input_tokens: estimateTokens(request.body) });
    } else if (call === 'POST /v1/messages' && request.body) {
      const reply = (await handler?.(request)) ?? script.replyTo(request);
      if (response.destroyed) return;
      await sendReply(response, request.body, reply);
    } else if (request.method === 'POST' && !request.body) {
      sendError(response, 400, 'the body is not a JSON object');
    } else {
      sendError(response, 404, `the stand-in has no ${call}`);
    }
  }

  const server = createServer((incoming, response) => {
    serve(incoming, response).catch((error: unknown) => {
      // Whoever went away needs no answer; anything else is a bug in a test, so show it there.
      if (response.destroyed) return;
      if (response.headersSent) response.destroy();
      else sendError(response, 500, `stand-in: ${error instanceof Error ? error.stack : error}`);
    });
  });
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');

  let closing: Promise<void> | undefined;
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: log.requests,
    waitForRequest: (predicate, until = 90_000) => log.wait(predicate, until),
    reply(replacement) {
      handler = replacement;
    },
    close() {
      closing ??= new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
      return closing;
    },
  };
}

const modelList = {
  data: ['claude-opus-5-5', 'claude-sonnet-5-5', 'claude-haiku-5-5'].map((id) => ({
    type: 'model',
    id,
    display_name: id,
    created_at: '2026-01-01T00:00:00Z',
  })),
  has_more: false,
};

/** Four characters a token is near enough for figures that nobody is billed for. */
function estimateTokens(body: MessageBody): number {
  return Math.ceil(JSON.stringify(body).length / 4);
}
