/**
 * The supervisor's bundle with the real CLI in a memory cgroup made for it, with MCP servers that leak
 * when they are told to.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { type MadeCgroup, makeMemoryCgroup } from '../support/memory-cgroup.ts';
import { startMessagesApi } from '../support/messages-api.ts';
import { type Program, startProgram } from '../support/programs.ts';
import type { PromptTarget } from '../support/prompt.ts';

export interface BerthInCgroup {
  program: Program;
  cgroup: MadeCgroup;
  target: PromptTarget;
  stop: () => Promise<void>;
}

export interface BerthInCgroupOptions {
  /** Bytes. */
  limit: number;
  mcpServers: number;
  /** So many processes and threads. */
  tasks?: number;
  settings?: Record<string, string>;
  /** A command that runs the one which is put after it, in the cgroup. */
  within?: readonly string[];
}

let serial = 0;

/** @param directory an empty one of its own */
export async function startBerthIn(
  directory: string,
  { limit, mcpServers, tasks, settings = {}, within = [] }: BerthInCgroupOptions,
): Promise<BerthInCgroup> {
  const api = await startMessagesApi();
  const cgroup = makeMemoryCgroup(`berth-${process.pid}-${++serial}`, limit);
  if (tasks !== undefined) cgroup.allowTasks(tasks);
  const token = layOut(directory, mcpServers);
  const program = startProgram('serve', {
    arguments: ['serve'],
    cgroup: cgroup.procs,
    within,
    environment: { ...environmentFor(directory, api.url), ...settings },
  });
  const stop = async (): Promise<void> => {
    program.kill('SIGTERM');
    await program.ended;
    await cgroup.remove();
    await api.close();
  };
  try {
    const url = String((await program.logged('listening')).address);
    return { program, cgroup, target: { url, token }, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The folders of a container, and its configuration. Returns the API token. */
export function layOut(directory: string, servers: number): string {
  const token = makeToken();
  for (const name of ['config', 'home', 'workspace', 'tmp']) {
    mkdirSync(join(directory, name), { recursive: true });
  }
  const server = join(import.meta.dirname, '../support/fixtures/mcp-that-leaks.mjs');
  const names = Array.from({ length: servers }, (_, index) => `leak-${index + 1}`);
  const mcpServers = Object.fromEntries(
    names.map((name) => [name, { command: process.execPath, args: [server] }]),
  );
  const write = (name: string, content: unknown) =>
    writeFileSync(join(directory, name), JSON.stringify(content));
  write('config/.claude.json', { mcpServers });
  write('config/settings.json', { permissions: { allow: ['mcp__leak-1__leak', 'Bash'] } });
  writeFileSync(join(directory, 'tokens'), tokenLine('leaks', token));
  return token;
}

export function environmentFor(directory: string, apiUrl: string): Record<string, string> {
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
    BERTH_SHARED_SPARES: '0',
    BERTH_DRAIN: '0s',
  };
}
