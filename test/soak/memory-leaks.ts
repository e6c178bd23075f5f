/**
 * Leaks in a container of 1 GiB: prompts run all the while, and one turn after another calls a tool
 * whose MCP server takes memory at a given rate until something is done about it. Tells what the
 * callers got, what the kernel killed, and how soon the guard acted.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { makeMemoryCgroup } from '../support/memory-cgroup.ts';
import { startMessagesApi } from '../support/messages-api.ts';
import { type LogLine, startProgram } from '../support/programs.ts';
import { type JsonReply, sendPrompt } from '../support/prompt.ts';
import { until } from '../support/until.ts';

const mebibyte = 2 ** 20;
export const container = 1_024 * mebibyte;
/** BERTH_MEMORY_HARD's default. */
const hard = 0.85 * container;

export interface Leak {
  /** MB a second. */
  rate: number;
  reply: JsonReply;
  /** What the guard decided, with its numbers. */
  decision: LogLine | undefined;
  /** Milliseconds from the crossing of hard to the decision; 0 if it came before the crossing. */
  detection: number;
}

export interface LeakSeries {
  leaks: Leak[];
  /** Of the prompts that ran meanwhile. */
  others: JsonReply[];
  kernelKills: number;
}

export interface LeakOptions {
  /** An empty one of its own. */
  directory: string;
  /** One leak each, in turn. */
  rates: readonly number[];
  onLeak?: (leak: Leak) => void;
}

export async function leakInTurn({ directory, rates, onLeak }: LeakOptions): Promise<LeakSeries> {
  const api = await startMessagesApi();
  const cgroup = makeMemoryCgroup(`berth-leaks-${process.pid}-${Date.now()}`, container);
  const token = layOut(directory);
  const program = startProgram('serve', {
    form: 'bundles',
    arguments: ['serve'],
    cgroup: cgroup.procs,
    environment: environmentFor(directory, api.url),
  });
  const others: JsonReply[] = [];
  const leaks: Leak[] = [];
  try {
    const target = { url: String((await program.logged('listening')).address), token };
    let over = false;
    const meanwhile = (async () => {
      while (!over) others.push(await sendPrompt(target, { prompt: '[[slow 100]] [[say ok]]' }));
    })();
    for (const rate of rates) {
      const seen = program.lines.length;
      const watch = watchCrossing(cgroup.workingSet);
      const input = JSON.stringify({ rate, most: 4_000 });
      const prompt = `[[tool mcp__leak__leak ${input}]] [[say carried on]]`;
      const reply = await sendPrompt(target, { prompt });
      const decision = program.lines
        .slice(seen)
        .find(({ event, action }) => event === 'memory_limit' && action === 'end');
      const crossed = watch.stop();
      const decided = Date.parse(String(decision?.time));
      const detection = crossed === undefined ? 0 : Math.max(0, decided - crossed);
      const leak = { rate, reply, decision, detection };
      leaks.push(leak);
      onLeak?.(leak);
      await until('the memory is free again', () => cgroup.workingSet() < hard * 0.7);
    }
    over = true;
    await meanwhile;
    return { leaks, others, kernelKills: cgroup.kills() };
  } finally {
    program.kill('SIGTERM');
    await program.ended;
    await cgroup.remove();
    await api.close();
  }
}

/** Looks every few milliseconds; tells when the working set was first above hard, by the wall clock. */
function watchCrossing(workingSet: () => number): { stop: () => number | undefined } {
  let crossed: number | undefined;
  const timer = setInterval(() => {
    if (crossed === undefined && workingSet() > hard) crossed = Date.now();
  }, 5);
  return {
    stop: () => {
      clearInterval(timer);
      return crossed;
    },
  };
}

function layOut(directory: string): string {
  const token = makeToken();
  for (const name of ['config', 'home', 'workspace', 'tmp']) {
    mkdirSync(join(directory, name), { recursive: true });
  }
  const server = join(import.meta.dirname, '../support/fixtures/mcp-that-leaks.mjs');
  const mcpServers = { leak: { command: process.execPath, args: [server] } };
  const write = (name: string, content: unknown) =>
    writeFileSync(join(directory, name), JSON.stringify(content));
  write('config/.claude.json', { mcpServers });
  write('config/settings.json', { permissions: { allow: ['mcp__leak__leak'] } });
  writeFileSync(join(directory, 'tokens'), tokenLine('leaks', token));
  return token;
}

function environmentFor(directory: string, apiUrl: string): Record<string, string> {
  return {
    HOME: join(directory, 'home'),
    TMPDIR: join(directory, 'tmp'),
    ANTHROPIC_BASE_URL: apiUrl,
    ANTHROPIC_API_KEY: 'sk-ant-bench-0123456789',
    CLAUDE_CODE_MAX_RETRIES: '0',
    BERTH_CONFIG_DIR: join(directory, 'config'),
    BERTH_WORKSPACE_DIR: join(directory, 'workspace'),
    BERTH_CLAUDE_PATH: join(import.meta.dirname, '../../node_modules/.bin/claude'),
    BERTH_API_TOKENS_FILE: join(directory, 'tokens'),
    BERTH_HTTP_LISTEN: '127.0.0.1:0',
    BERTH_METRICS_LISTEN: '127.0.0.1:0',
    BERTH_MAX_WORKERS: '2',
    BERTH_WARM_WORKERS: '1',
    BERTH_DRAIN: '0s',
  };
}
