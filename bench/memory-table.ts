/**
 * Measures the memory of berth by the number of workers, each after a turn, and of configured MCP
 * servers.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { startBerthIn } from '../test/soak/berth-in-cgroup.ts';
import { sendPrompt } from '../test/support/prompt.ts';
import { until } from '../test/support/until.ts';

const counts = { workers: [0, 1, 2, 4], servers: [0, 1, 3] };
const mebibyte = 2 ** 20;

export async function printTable(directory: string): Promise<void> {
  const { workers, servers } = counts;
  process.stdout.write('\nWorking set of the container in MiB, each worker after one turn\n\n');
  process.stdout.write(
    `| workers | ${servers.map((each) => `${each} MCP servers`).join(' | ')} |\n`,
  );
  process.stdout.write(`|---|${servers.map(() => '---').join('|')}|\n`);
  for (const count of workers) {
    const cells: number[] = [];
    for (const each of servers) cells.push(await measure(directory, count, each));
    process.stdout.write(`| ${count} | ${cells.join(' | ')} |\n`);
  }
}

async function measure(above: string, workers: number, servers: number): Promise<number> {
  const directory = join(above, `${workers}-${servers}`);
  mkdirSync(directory);
  const berth = await startBerthIn(directory, {
    limit: 8_192 * mebibyte,
    mcpServers: servers,
    settings: { BERTH_WARM_WORKERS: '0', BERTH_MAX_WORKERS: String(Math.max(1, workers)) },
  });
  try {
    const prompts = Array.from({ length: workers }, () =>
      sendPrompt(berth.target, { prompt: '[[slow 1500]] [[say ok]]' }),
    );
    for (const reply of await Promise.all(prompts)) {
      if (reply.status !== 200) throw new Error(`the prompt failed: ${JSON.stringify(reply.body)}`);
    }
    // Memory of the start is released, or counted as reclaimable, a little later.
    let least = Number.POSITIVE_INFINITY;
    const until2s = performance.now() + 2_000;
    await until('it has settled', () => {
      least = Math.min(least, berth.cgroup.workingSet());
      return performance.now() > until2s;
    });
    return Math.round(least / mebibyte);
  } finally {
    await berth.stop();
  }
}
