/**
 * The competitor: a server that starts `claude -p` for each prompt, run by pm2.
 * `max_memory_restart` is the share of the container at which berth acts; otherwise pm2's defaults
 * apply. pm2 is installed into a temporary folder for the run.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { cliEnvironment } from '../supervisor/claude/environment.ts';
import { layOut } from '../test/soak/berth-in-cgroup.ts';
import { container, type Leak, type LeakSeries, leakPrompt } from '../test/soak/memory-leaks.ts';
import { makeMemoryCgroup } from '../test/support/memory-cgroup.ts';
import { startMessagesApi } from '../test/support/messages-api.ts';
import { enterAndRun } from '../test/support/programs.ts';
import type { JsonReply } from '../test/support/prompt.ts';
import { until } from '../test/support/until.ts';

const run = promisify(execFile);
const version = '7.0.4';
const longestPrompt = 280_000;

export async function leakUnderPm2(options: {
  directory: string;
  rates: readonly number[];
}): Promise<LeakSeries> {
  const { directory, rates } = options;
  await run('npm', [
    'install',
    '--no-save',
    '--no-audit',
    '--no-fund',
    '--prefix',
    directory,
    `pm2@${version}`,
  ]);
  const pm2 = join(directory, 'node_modules/.bin/pm2');
  layOut(directory, 1);
  const api = await startMessagesApi();
  const cgroup = makeMemoryCgroup(`berth-pm2-${process.pid}`, container);
  const inherited = {
    PATH: process.env.PATH ?? '',
    HOME: join(directory, 'home'),
    TMPDIR: join(directory, 'tmp'),
    ANTHROPIC_BASE_URL: api.url,
    ANTHROPIC_API_KEY: 'sk-ant-bench-0123456789',
    CLAUDE_CODE_MAX_RETRIES: '0',
  };
  const environment = {
    ...cliEnvironment(inherited, join(directory, 'config'), 'pm2'),
    PM2_HOME: join(directory, 'pm2-home'),
    CLAUDE: join(import.meta.dirname, '../node_modules/.bin/claude'),
    PORT_FILE: join(directory, 'port'),
  };
  const script = join(import.meta.dirname, 'memory-spawn-server.mjs');
  const limit = `${Math.round((0.85 * container) / 2 ** 20)}M`;
  writeFileSync(environment.PORT_FILE, '');
  const inCgroup = async (...command: string[]): Promise<void> => {
    const shell = spawn('sh', ['-c', enterAndRun, cgroup.procs.join(' '), ...command], {
      env: environment,
      cwd: join(directory, 'workspace'),
      stdio: 'ignore',
    });
    await once(shell, 'exit');
  };
  try {
    await inCgroup(pm2, 'start', script, '--name', 'rival', '--max-memory-restart', limit);
    const port = () => Number(readFileSync(environment.PORT_FILE, 'utf8'));
    await until('pm2 has started the server', () => port() > 0);
    const others: JsonReply[] = [];
    const leaks: Leak[] = [];
    let over = false;
    const meanwhile = (async () => {
      while (!over) others.push(await ask(port(), '[[slow 100]] [[say ok]]'));
    })();
    for (const rate of rates) {
      const reply = await ask(port(), leakPrompt(rate));
      leaks.push({ rate, reply, decision: undefined, detection: 0 });
      process.stdout.write(
        `  pm2, ${rate} MB/s: answer ${reply.status} ${reply.body.code ?? ''}\n`,
      );
      await delay(2_000);
    }
    over = true;
    await meanwhile;
    return { leaks, others, kernelKills: cgroup.kills() };
  } finally {
    await inCgroup(pm2, 'kill');
    for (const pid of readFileSync(cgroup.procs[0] ?? '', 'utf8')
      .split('\n')
      .filter(Boolean)) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // The process has already ended.
      }
    }
    await cgroup.remove();
    await api.close();
  }
}

async function ask(port: number, prompt: string): Promise<JsonReply> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}`, {
      method: 'POST',
      body: prompt,
      signal: AbortSignal.timeout(longestPrompt),
    });
    const text = await response.text();
    return { status: response.status, contentType: '', body: { text } };
  } catch {
    await delay(200);
    return { status: 0, contentType: '', body: { code: 'connection lost' } };
  }
}
