/**
 * Whether a CLI takes a prompt as data and reports what a turn has cost: it is sent `/help` as a prompt,
 * with a Messages API on loopback that answers whatever it is asked. A CLI that runs the command answers
 * by itself, and asks nothing.
 * Always holds: the process has no login and no proxy, so nothing of the test leaves the container.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { z } from 'zod';
import type { Environment } from '../../shared/config.ts';
import type { ClaudeProcess } from './process.ts';
import { UnclearResult } from './process-errors.ts';
import type { TurnResult } from './turn-result.ts';

/** A command that every version of the CLI has, and that does no harm where it is run. */
const text = '/help';

/** What the process needs of the container's environment; the rest could send it to another API. */
const kept = ['PATH', 'HOME', 'USER', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR'];

export interface Probe {
  /** What the process inherits instead of the container's environment. */
  environment: Environment;
  /**
   * @returns false if nothing was proven: the CLI asked another API, as managed settings of an image may say
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
      if (!requests.some(hasText)) throw new Error('it runs commands that stand in a prompt');
      if (isError) throw new Error(`it does not take the answer of a model: ${result}`);
      if (costUsd === 0) throw new Error('it does not report what a turn has cost');
      return true;
    },
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Earlier CLIs do not name the prompt that a result answers; here there is one prompt alone. */
function resultOf(error: unknown): TurnResult {
  if (error instanceof UnclearResult) return error.result;
  throw error;
}

const block = z.object({ text: z.string() }).partial();
const body = z.object({
  model: z.string(),
  messages: z.array(z.object({ content: z.union([z.string(), z.array(block)]) })),
});

/** A command that was run would stand in tags, or not at all. */
function hasText(request: unknown): boolean {
  const { data } = body.safeParse(request);
  const contents = data?.messages.flatMap(({ content }) =>
    typeof content === 'string' ? [content] : content.map((part) => part.text),
  );
  return contents?.includes(text) ?? false;
}

/** Answers `ok`, as a stream of events. */
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
