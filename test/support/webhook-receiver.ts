/** An HTTP server that receives callbacks, and misbehaves as a test wants. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

export interface Received {
  /** The request target, byte for byte. */
  target: string;
  headers: Record<string, string>;
  body: string;
  /** Milliseconds since 1970. */
  at: number;
}

export type Reply = (response: ServerResponse, received: Received) => void;

export interface WebhookReceiver {
  /** `http://127.0.0.1:<port>` */
  url: string;
  port: number;
  /** Oldest first. */
  received: Received[];
  /** The replies to the next requests; the last one stays. */
  replies: Reply[];
}

/** A reply with this status. */
export function status(code: number, headers: Record<string, string> = {}, body = ''): Reply {
  return (response) => response.writeHead(code, headers).end(body);
}

/** @param t ends the receiver */
export async function openReceiver(
  t: Pick<Test, 'teardown'>,
  ...replies: Reply[]
): Promise<WebhookReceiver> {
  const received: Received[] = [];
  const server = createServer(async (request, response) => {
    const body = await textOf(request);
    const headers = request.headers as Record<string, string>;
    const taken = { target: request.url ?? '', headers, body, at: Date.now() };
    received.push(taken);
    const reply = receiver.replies.length > 1 ? receiver.replies.shift() : receiver.replies[0];
    (reply ?? status(204))(response, taken);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const receiver = { url: `http://127.0.0.1:${port}`, port, received, replies };
  return receiver;
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) text += chunk;
  return text;
}
