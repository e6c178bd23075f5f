/**
 * A typical alternative to berth: an HTTP server that runs `claude -p` for each prompt and answers
 * with its output. The server waits for nothing except the CLI.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { type Place, runClaude } from './bare.ts';

/** Starts the server on loopback; `cleanup` closes it. */
export async function startSpawnServer(
  place: Place,
  cleanup: AsyncDisposableStack,
): Promise<string> {
  const server = createServer(async (request, response) => {
    const { prompt, flags } = (await json(request)) as { prompt: string; flags: string[] };
    const { code, output } = await runClaude(place, prompt, flags);
    response.writeHead(code === 0 ? 200 : 500, { 'content-type': 'application/json' });
    response.end(output);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/prompts`;
}

/** @throws Error with the body if the answer is neither `ok` nor structured */
export async function askSpawnServer(
  url: string,
  prompt: string,
  flags: readonly string[] = [],
): Promise<void> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt, flags }),
  });
  const body = (await response.json()) as { result?: string; structured_output?: unknown };
  const answered = body.result === 'ok' || body.structured_output !== undefined;
  if (response.status !== 200 || !answered) throw new Error(JSON.stringify(body));
}
