/**
 * Tests whether a CLI treats a prompt as data and reports the cost of a turn: the probe sends
 * `/help` as a prompt, with a Messages API on loopback that answers every request. A CLI that runs
 * the command answers without a request to the API.
 * Invariant: the process has no login and no proxy, so nothing of the test leaves the container.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { z } from 'zod';
import type { Environment } from '../../shared/config.ts';
import type { ClaudeProcess } from './process.ts';
import { UnclearResult } from './process-errors.ts';
import type { TurnResult } from './turn-result.ts';

/** A harmless command that every version of the CLI has. */
const text = '/help';

/**
 * The variables that the process needs from the container; others could direct it to another API.
 */
const kept = ['PATH', 'HOME', 'USER', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR'];

export interface Probe {
  /** The environment that the process inherits instead of the container's. */
  environment: Environment;
  /**
   * @returns false if nothing is proven: the CLI called another API, as managed settings of an
   * image may require
   * @throws Error if the CLI runs commands in prompts, or does not report a cost
   */
  ask(process: ClaudeProcess): Promise<boolean>;
  close(): void;
}

export async function startProbe(inherited: Environment): Promise<Probe> {
  const requests: unknown[] = [];
  const server = createServer((request, response) => void answer(request, response, requests));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    environment: {
      ...Object.fromEntries(kept.map((name) => [name, inherited[name]])),
      ANTHROPIC_BASE_URL: `http://127.0.0.1:${port}`,
      ANTHROPIC_API_KEY: 'sk-ant-self-test-no-key',
      CLAUDE_CODE_MAX_RETRIES: '0',
    },
    ask: async (process) => {
      const { isError, costUsd, result } = await process.run(text).catch(resultOf);
      if (requests.length === 0 && (isError || costUsd > 0)) return false;
      if (!requests.some(hasText)) throw new Error('it runs commands in a prompt');
      if (isError) throw new Error(`it does not accept the answer of a model: ${result}`);
      if (costUsd === 0) throw new Error('it does not report the cost of a turn');
      return true;
    },
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Earlier CLIs do not name the prompt of a result; here there is only one prompt. */
function resultOf(error: unknown): TurnResult {
  if (error instanceof UnclearResult) return error.result;
  throw error;
}

const block = z.object({ text: z.string() }).partial();
const body = z.object({
  model: z.string(),
  messages: z.array(z.object({ content: z.union([z.string(), z.array(block)]) })),
});

/** The text of an executed command would be inside tags, or absent. */
function hasText(request: unknown): boolean {
  const { data } = body.safeParse(request);
  const contents = data?.messages.flatMap(({ content }) =>
    typeof content === 'string' ? [content] : content.map((part) => part.text),
  );
  return contents?.includes(text) ?? false;
}

/** Responds with `ok`, as a stream of events. */
async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  requests: unknown[],
): Promise<void> {
  const asked = await json(request).catch(() => undefined);
  const model = body.safeParse(asked).data?.model;
  if (model === undefined) {
    response.writeHead(404).end();
    return;
  }
  requests.push(asked);
  const usage = { input_tokens: 1_000, output_tokens: 1_000 };
  const message = { id: 'msg_1', type: 'message', role: 'assistant', model, content: [], usage };
  const events = [
    { type: 'message_start', message },
    { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
    { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'ok' } },
    { type: 'content_block_stop', index: 0 },
    { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage },
    { type: 'message_stop' },
  ];
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.end(
    events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join(''),
  );
}
