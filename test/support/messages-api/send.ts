/**
 * Writes a reply as the Messages API does: as a stream of events or as one JSON object.
 * A wait ends when the client goes away, so nothing outlives its connection.
 */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { blocksOf, deltasOf, emptyMessage, newId, stopReason, usageOf } from './message.ts';
import type { MessageBody } from './request.ts';
import type { Reply } from './script.ts';

export function sendJson(
  response: ServerResponse,
  status: number,
  value: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, {
    'content-type': 'application/json',
    'request-id': newId('req'),
    ...headers,
  });
  response.end(JSON.stringify(value));
}

const errorTypes: Record<number, string> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  529: 'overloaded_error',
};

/** The status with which the API answers by an error of that type. */
function statusOf(type: string | undefined): number {
  const found = Object.entries(errorTypes).find(([, name]) => name === type);
  return found ? Number(found[0]) : 500;
}

/** An error in the API's own shape. */
export function sendError(
  response: ServerResponse,
  status: number,
  message: string,
  headers?: Record<string, string>,
): void {
  const type = errorTypes[status] ?? (status < 500 ? 'invalid_request_error' : 'api_error');
  sendJson(response, status, { type: 'error', error: { type, message } }, headers);
}

/** Sends the reply as far as its ending says, and waits no longer than the client does. */
export async function sendReply(
  response: ServerResponse,
  body: MessageBody,
  reply: Reply,
): Promise<void> {
  if (reply.status !== undefined) {
    sendError(response, reply.status, reply.text ?? `stand-in: ${reply.status}`, reply.headers);
    return;
  }
  if (reply.ending === 'hang headers') return;
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  try {
    if (reply.ending === 'error' && !body.stream) sendError(response, statusOf(reply.error), 'x');
    else if (body.stream) await sendStream(response, body, reply, gone.signal);
    else await sendWhole(response, body, reply, gone.signal);
  } catch (error) {
    if (!gone.signal.aborted) throw error;
  }
}

async function sendStream(
  response: ServerResponse,
  body: MessageBody,
  reply: Reply,
  gone: AbortSignal,
): Promise<void> {
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'request-id': newId('req'),
    ...reply.headers,
  });
  const write = async (type: string, rest: object) => {
    const event = `event: ${type}\ndata: ${JSON.stringify({ type, ...rest })}\n\n`;
    if (!response.write(event)) await once(response, 'drain', { signal: gone });
  };
  const usage = usageOf(body, reply);
  const message = { ...emptyMessage(body), usage: { ...usage, output_tokens: 1 } };
  await write('message_start', { message });
  await write('ping', {});
  if (reply.ending === 'error') {
    await write('error', { error: { type: reply.error, message: `stand-in: ${reply.error}` } });
    response.end();
    return;
  }
  let index = 0;
  for (const block of blocksOf(reply)) {
    const start = block.type === 'text' ? { ...block, text: '' } : { ...block, input: {} };
    await write('content_block_start', { index, content_block: start });
    for (const delta of deltasOf(block)) {
      if (reply.delay) await sleep(reply.delay, undefined, { signal: gone });
      await write('content_block_delta', { index, delta });
      if (reply.ending === 'hang stream') return;
      if (reply.ending === 'drop') {
        response.destroy();
        return;
      }
    }
    await write('content_block_stop', { index });
    index++;
  }
  const delta = { stop_reason: stopReason(reply), stop_sequence: null };
  await write('message_delta', { delta, usage });
  await write('message_stop', {});
  response.end();
}

async function sendWhole(
  response: ServerResponse,
  body: MessageBody,
  reply: Reply,
  gone: AbortSignal,
): Promise<void> {
  if (reply.delay) await sleep(reply.delay, undefined, { signal: gone });
  if (reply.ending === 'hang stream' || reply.ending === 'drop') {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.write('{"type":"message",');
    if (reply.ending === 'drop') response.destroy();
    return;
  }
  const message = {
    ...emptyMessage(body),
    content: blocksOf(reply),
    stop_reason: stopReason(reply),
    usage: usageOf(body, reply),
  };
  sendJson(response, 200, message, reply.headers);
}
