/**
 * A Messages API on loopback for the self-test of a CLI. It records the requests and answers them so that the
 * turn shows what the test needs: the model calls a tool, gives its structured answer if it can, and ends.
 * Invariant: as a proxy it refuses everything, so nothing of the test leaves the container.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { z } from 'zod';

const block = z.looseObject({ type: z.string().catch(''), text: z.string().catch('') });
const content = z.union([z.string(), z.array(block)]);
const bodyShape = z.looseObject({
  model: z.string(),
  messages: z.array(z.object({ role: z.string().catch(''), content })),
  tools: z.array(z.looseObject({ name: z.string().catch('') })).catch([]),
});

type Body = z.infer<typeof bodyShape>;

/** The tool that the model calls, and its input. */
export interface ToolCall {
  name: string;
  input: Readonly<Record<string, unknown>>;
}

export interface TestRequest {
  body: Body;
  /** The body as text. */
  text: string;
  /** The value of `x-api-key`, or the token of `authorization`; empty without one. */
  login: string;
}

export interface TestApi {
  url: string;
  /** The requests of the turn, the first one first. */
  requests: readonly TestRequest[];
  close(): void;
}

/** @param calls the tools that the model calls before it ends, if it is offered them */
export async function startTestApi(calls: readonly ToolCall[]): Promise<TestApi> {
  const requests: TestRequest[] = [];
  const server = createServer((request, response) => {
    void answer(request, response, requests, calls);
  });
  server.on('connect', (_, socket) => socket.end('HTTP/1.1 403 Forbidden\r\n\r\n'));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** The texts of the prompts and of what the CLI adds to them, without markup. */
export function textsOf({ body }: TestRequest): string[] {
  return body.messages.flatMap(({ content: parts }) =>
    typeof parts === 'string' ? [parts] : parts.map(({ text }) => text),
  );
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  requests: TestRequest[],
  calls: readonly ToolCall[],
): Promise<void> {
  const { data: body } = bodyShape.safeParse(await json(request).catch(() => undefined));
  if (!body) {
    response.writeHead(404).end();
    return;
  }
  const bearer = /^Bearer (.*)/.exec(request.headers.authorization ?? '')?.[1];
  const login = bearer ?? String(request.headers['x-api-key'] ?? '');
  requests.push({ body, text: JSON.stringify(body), login });
  const call = nextCall(body, calls);
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.end(
    eventsOf(body.model, call)
      .map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
      .join(''),
  );
}

/** The first call that has no result in the conversation yet. */
function nextCall({ messages, tools }: Body, calls: readonly ToolCall[]): ToolCall | undefined {
  const blocks = messages.flatMap(({ content: parts }) => (Array.isArray(parts) ? parts : []));
  const called = blocks.filter(({ type }) => type === 'tool_use').map(({ name }) => name);
  return calls.find(
    ({ name }) => tools.some((tool) => tool.name === name) && !called.includes(name),
  );
}

function eventsOf(model: string, call: ToolCall | undefined) {
  const usage = { input_tokens: 1_000, output_tokens: 1_000 };
  const message = { id: 'msg_1', type: 'message', role: 'assistant', model, content: [], usage };
  const start = call
    ? { type: 'tool_use', id: `toolu_${call.name}`, name: call.name, input: {} }
    : { type: 'text', text: '' };
  const delta = call
    ? { type: 'input_json_delta', partial_json: JSON.stringify(call.input) }
    : { type: 'text_delta', text: 'ok' };
  return [
    { type: 'message_start', message },
    { type: 'content_block_start', index: 0, content_block: start },
    { type: 'content_block_delta', index: 0, delta },
    { type: 'content_block_stop', index: 0 },
    { type: 'message_delta', delta: { stop_reason: call ? 'tool_use' : 'end_turn' }, usage },
    { type: 'message_stop' },
  ];
}
