/**
 * `npm run bench`: how long a prompt takes, with a model that answers in 0 ms, so that what is left
 * is the way there and back. The rivals run interleaved, in turn, in one run: `claude -p` for each
 * prompt, a warm CLI on bare stdin and stdout, and berth over HTTP.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import split2 from 'split2';
import { cliArguments } from '../supervisor/claude/command.ts';
import { cliEnvironment } from '../supervisor/claude/environment.ts';
import { userLine } from '../supervisor/claude/protocol.ts';
import { makeToken, tokenLine } from '../supervisor/http/tokens.ts';
import { startMessagesApi } from '../test/support/messages-api.ts';
import { startProgram } from '../test/support/programs.ts';
import { type PromptTarget, sendPrompt } from '../test/support/prompt.ts';
import { until } from '../test/support/until.ts';
import { type Figure, quantile, report } from './report.ts';

const rounds = Number(process.argv.find((each) => /^\d+$/.test(each)) ?? 30);
const prompt = 'Say it. [[say ok]]';

interface Rival {
  name: string;
  /** What need not be timed: bringing the rival to where a prompt meets it in real use. */
  ready?: () => Promise<void>;
  run: () => Promise<void>;
}

async function main(): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'berth-bench-'));
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
  const api = await startMessagesApi();
  cleanup.defer(() => api.close());
  const environmentOf = async (name: string) => {
    await mkdir(join(directory, name, 'workspace'), { recursive: true });
    return cliEnvironment(
      {
        PATH: process.env.PATH,
        ANTHROPIC_BASE_URL: api.url,
        ANTHROPIC_API_KEY: 'sk-ant-bench-0123456789',
      },
      join(directory, name),
      name,
    );
  };

  const cold = coldRival(await environmentOf('cold'), join(directory, 'cold/workspace'));
  const bare = bareRival(await environmentOf('bare'), join(directory, 'bare/workspace'), cleanup);
  const target = await startBerth(directory, api.url, cleanup);
  const rivals = [cold, bare, await followUpRival(target), newContextRival(target)];

  const times = new Map(rivals.map(({ name }) => [name, [] as number[]]));
  for (let round = -2; round < rounds; round++) {
    for (const { name, ready, run } of rotated(rivals, round)) {
      await ready?.();
      const started = performance.now();
      await run();
      // The first two rounds warm everybody up.
      if (round >= 0) times.get(name)?.push(performance.now() - started);
    }
    if (process.stderr.isTTY) process.stderr.write(`\rround ${round + 1} of ${rounds} `);
  }
  report(`Latency of a prompt, ${rounds} rounds, interleaved`, figuresOf(times));
}

function figuresOf(times: ReadonlyMap<string, readonly number[]>): Figure[] {
  const p50 = (name: string): number => quantile(times.get(name) ?? [], 0.5);
  const told = [...times].flatMap(([name, values]) => [
    { name: `${name}, p50`, value: quantile(values, 0.5), unit: 'ms' },
    { name: `${name}, p95`, value: quantile(values, 0.95), unit: 'ms' },
  ]);
  const [cold, bare] = [p50('claude -p'), p50('bare warm CLI')];
  return [
    ...told,
    {
      name: 'berth, follow-up / claude -p',
      value: p50('berth, follow-up') / cold,
      unit: '',
      target: 0.2,
    },
    {
      name: 'berth, new context / claude -p',
      value: p50('berth, new context') / cold,
      unit: '',
      target: 0.45,
    },
    {
      name: 'berth, follow-up - bare',
      value: p50('berth, follow-up') - bare,
      unit: 'ms',
      target: 5,
    },
  ];
}

/** A process for each prompt, until it has ended, as a shell script does it. */
function coldRival(environment: Record<string, string>, cwd: string): Rival {
  return {
    name: 'claude -p',
    run: async () => {
      const child = spawn('claude', ['-p', '--output-format', 'json', prompt], {
        env: environment,
        cwd,
        stdio: ['ignore', 'ignore', 'inherit'],
      });
      const [code] = await once(child, 'close');
      if (code !== 0) throw new Error(`claude -p ended with ${code}`);
    },
  };
}

/** One warm process with berth's flags and nothing between it and the caller: the lower bound. */
function bareRival(
  environment: Record<string, string>,
  cwd: string,
  cleanup: AsyncDisposableStack,
): Rival {
  const child = spawn('claude', cliArguments(), {
    env: environment,
    cwd,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'close');
  cleanup.defer(async () => {
    child.stdin.end();
    await ended;
  });
  const lines = child.stdout.pipe(split2());
  return {
    name: 'bare warm CLI',
    run: () =>
      new Promise((resolve) => {
        const look = (line: string): void => {
          if ((JSON.parse(line) as { type?: string }).type !== 'result') return;
          lines.off('data', look);
          resolve();
        };
        lines.on('data', look);
        child.stdin.write(userLine(prompt, crypto.randomUUID()));
      }),
  };
}

/** The supervisor's bundle with its default settings. */
async function startBerth(
  directory: string,
  apiUrl: string,
  cleanup: AsyncDisposableStack,
): Promise<PromptTarget> {
  const token = makeToken();
  await mkdir(join(directory, 'berth'), { recursive: true });
  await writeFile(join(directory, 'tokens'), tokenLine('bench', token));
  const program = startProgram('serve', {
    form: 'bundles',
    arguments: ['serve'],
    environment: {
      ANTHROPIC_BASE_URL: apiUrl,
      ANTHROPIC_API_KEY: 'sk-ant-bench-0123456789',
      BERTH_CONFIG_DIR: join(directory, 'berth'),
      BERTH_WORKSPACE_DIR: join(directory, 'berth/workspace'),
      BERTH_API_TOKENS_FILE: join(directory, 'tokens'),
      BERTH_HTTP_LISTEN: '127.0.0.1:0',
      BERTH_METRICS_LISTEN: '127.0.0.1:0',
    },
  });
  cleanup.defer(async () => {
    program.kill('SIGTERM');
    await program.ended;
  });
  const { address } = await program.logged('listening');
  return { url: String(address), token };
}

async function followUpRival(target: PromptTarget): Promise<Rival> {
  const { body } = await sendPrompt(target, { prompt });
  const session = body.session_id;
  return {
    name: 'berth, follow-up',
    run: async () => expectAnswer(await sendPrompt(target, { prompt, session_id: session })),
  };
}

/** Prompts that are not closer together than the pool needs to make a new warm worker. */
function newContextRival(target: PromptTarget): Rival {
  return {
    name: 'berth, new context',
    ready: async () => {
      await until('a worker is warm', () => hasWarmWorker(target));
    },
    run: async () => expectAnswer(await sendPrompt(target, { prompt })),
  };
}

async function hasWarmWorker({ url, token }: PromptTarget): Promise<boolean> {
  const headers = { authorization: `Bearer ${token}` };
  const response = await fetch(`${url}/v1/status`, { headers });
  const { workers } = (await response.json()) as { workers: { state: string }[] };
  return workers.some(({ state }) => state === 'warm');
}

function expectAnswer({ status, body }: { status: number; body: Record<string, unknown> }): void {
  if (status !== 200 || body.result !== 'ok') throw new Error(JSON.stringify(body));
}

/** The same rivals, another one first in each round. */
function rotated<T>(items: readonly T[], by: number): T[] {
  const start = ((by % items.length) + items.length) % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

await main();
