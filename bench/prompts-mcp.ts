/**
 * Measures a new context with an MCP server, from the user's configuration, that takes a second to
 * start. berth starts the server before the prompt; a process for each prompt starts it with every
 * prompt.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sendPrompt } from '../test/support/prompt.ts';
import { makePlace } from './bare.ts';
import { expectAnswer, startBerth, warmWorker } from './berth.ts';
import { compete } from './compete.ts';
import { type Figure, quantile } from './report.ts';
import { askSpawnServer, startSpawnServer } from './spawn-server.ts';

const prompt = 'Say it. [[say ok]]';
const server = join(
  import.meta.dirname,
  '../test/support/fixtures/mcp-server-that-starts-slowly.mjs',
);

export async function compareSlowStart(
  directory: string,
  apiUrl: string,
  rounds: number,
): Promise<Figure[]> {
  await using cleanup = new AsyncDisposableStack();
  const settings = { ANTHROPIC_BASE_URL: apiUrl, BERTH_WORKER_IDLE_TIMEOUT: '2s' };
  const berth = await startBerth(await configure(directory, 'berth-mcp'), settings, cleanup);
  const place = await makePlace(await configure(directory, 'spawning-mcp'), apiUrl);
  const spawning = await startSpawnServer(place, cleanup);
  const names = [
    'spawning server, slow MCP server',
    'berth, new context, slow MCP server',
    'berth, new context with overrides, slow MCP server',
  ] as const;
  const overrides = { model: 'sonnet', append_system_prompt: 'Be brief.' };
  const times = await compete(
    [
      { name: names[0], run: () => askSpawnServer(spawning, prompt) },
      {
        name: names[1],
        ready: () => warmWorker(berth),
        run: async () => expectAnswer(await sendPrompt(berth, { prompt })),
      },
      {
        name: names[2],
        ready: () => warmWorker(berth, 2),
        run: async () => expectAnswer(await sendPrompt(berth, { prompt, ...overrides })),
      },
    ],
    rounds,
  );
  const medians = names.map((name) => quantile(times.get(name) ?? [], 0.5));
  const [spawningTook = Number.NaN] = medians;
  return names.flatMap((name, index) => {
    const value = medians[index] ?? Number.NaN;
    const ratio = {
      name: `${name} / spawning server`,
      value: value / spawningTook,
      unit: '',
      target: 0.1,
    };
    return [{ name: `${name}, p50`, value, unit: 'ms' }, ...(index === 0 ? [] : [ratio])];
  });
}

/** Makes a configuration directory with that MCP server. */
async function configure(parent: string, name: string): Promise<string> {
  const directory = join(parent, name);
  await mkdir(directory, { recursive: true });
  const mcpServers = { slow: { type: 'stdio', command: process.execPath, args: [server] } };
  await writeFile(join(directory, '.claude.json'), JSON.stringify({ mcpServers }));
  return directory;
}
