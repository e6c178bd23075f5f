/**
 * `npm run bench:workspaces`: from the request to the first token of a prompt with a checkout, the first and the second
 * time, beside the same by hand (`git clone --depth 1` and `claude -p`), in one run with the real CLI, a real git, a real
 * gateway and the stand-in Messages API. The second time begins when the files are ready in advance. Each round has a repository of its own, and the ways take turns.
 * Options: --rounds N, --files N,N,N, --json.
 */
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { makeToken, tokenLine } from '../supervisor/http/tokens.ts';
import { realClaude } from '../test/support/claude.ts';
import { type MessagesApi, startMessagesApi } from '../test/support/messages-api.ts';
import { type Program, startProgram } from '../test/support/programs.ts';
import { streamPrompt } from '../test/support/prompt.ts';
import { type Repositories, startRepositories } from '../test/support/repositories.ts';
import { createRepository, gitEnvironment } from '../test/support/repository.ts';
import { until } from '../test/support/until.ts';
import { type Figure, quantile, report } from './report.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    files: { type: 'string', default: '300,3000,20000' },
    json: { type: 'boolean' },
  },
});
const rounds = Number(values.rounds);
/** The highest good share of the second time in the time by hand. */
const target = 0.5;
/** Milliseconds in which a spare is started again, and the machine is quiet again. */
const settling = 4_000;
const depth = 1;

const directory = mkdtempSync(join(tmpdir(), 'berth-bench-workspaces-'));
const figures: Figure[] = [];
await using cleanup = new AsyncDisposableStack();
cleanup.defer(() => rmSync(directory, { recursive: true, force: true }));
const repositories = await startRepositories(directory, cleanup);
const api = await startMessagesApi();
cleanup.defer(() => api.close());
const berth = await startBerth(repositories, api);
for (const files of values.files.split(',').map(Number)) await measure(files);
report('workspaces', figures);

async function measure(files: number): Promise<void> {
  const list = (): number[] => [];
  const times = { hand: list(), first: list(), ready: list(), second: list() };
  for (let round = 0; round < rounds; round++) {
    const name = `me/r${files}-${round}`;
    makeRepository(name, files);
    times.first.push(await byBerth(name));
    times.ready.push(await filesReady(name));
    times.hand.push(await byHand(name));
    times.second.push(await byBerth(name));
    await filesReady(name);
    times.hand.push(await byHand(name));
    times.second.push(await byBerth(name));
  }
  const median = (list: readonly number[]): number => quantile(list, 0.5);
  const what = `${files} files`;
  figures.push(
    { name: `${what}: by hand, p50`, value: median(times.hand), unit: 'ms' },
    { name: `${what}: first time, p50`, value: median(times.first), unit: 'ms' },
    {
      name: `${what}: files ready for the second time after, p50`,
      value: median(times.ready),
      unit: 'ms',
    },
    { name: `${what}: second time, p50`, value: median(times.second), unit: 'ms' },
    {
      name: `${what}: second time / by hand`,
      value: median(times.second) / median(times.hand),
      ...{ unit: '', target },
    },
  );
}

/** Files of 1.5 KB as they are in sources: half of each can be compressed. */
function makeRepository(name: string, count: number): void {
  const files: Record<string, string> = {};
  for (let index = 0; index < count; index++) {
    const text = `${randomBytes(500).toString('hex')}\n${'const value = 1;\n'.repeat(30)}`;
    files[`src/${index % 50}/${Math.floor(index / 50) % 20}/file-${index}.ts`] = text;
  }
  const { path } = createRepository(repositories.root, name, files);
  execFileSync('git', ['repack', '-adq'], { env: { ...gitEnvironment(), GIT_DIR: path } });
}

async function startBerth({ url }: Repositories, { url: model }: MessagesApi) {
  const token = makeToken();
  for (const name of ['config', 'home', 'workspace']) {
    mkdirSync(join(directory, name), { recursive: true });
  }
  writeFileSync(join(directory, 'tokens'), tokenLine('bench', token));
  writeFileSync(
    join(directory, 'profiles.yaml'),
    'profiles:\n  code: {warm: 1, workspaces: {repos: ["me/*"]}}\n',
  );
  const program: Program = startProgram('serve', {
    arguments: ['serve'],
    environment: {
      ...claudeEnvironment(model, 'config'),
      BERTH_CONFIG_DIR: join(directory, 'config'),
      BERTH_WORKSPACE_DIR: join(directory, 'workspace'),
      BERTH_API_TOKENS_FILE: join(directory, 'tokens'),
      BERTH_PROFILES_FILE: join(directory, 'profiles.yaml'),
      BERTH_CLAUDE_PATH: realClaude,
      BERTH_GATEWAY_URL: url,
      BERTH_HTTP_LISTEN: '127.0.0.1:0',
      BERTH_METRICS_LISTEN: '127.0.0.1:0',
      BERTH_WARM_WORKERS: '0',
      BERTH_WORKER_IDLE_TIMEOUT: '1s',
    },
  });
  cleanup.defer(async () => {
    program.kill('SIGTERM');
    await program.ended;
  });
  const { address } = await program.logged('listening');
  await program.logged('worker_ready');
  return { url: String(address), token };
}

function claudeEnvironment(model: string, config: string): Record<string, string> {
  return {
    HOME: join(directory, 'home'),
    CLAUDE_CONFIG_DIR: join(directory, config),
    ANTHROPIC_API_KEY: 'sk-ant-bench-not-a-key',
    ANTHROPIC_BASE_URL: model,
  };
}

async function byBerth(repo: string): Promise<number> {
  await delay(settling);
  const began = performance.now();
  const body = { prompt: '[[say x]]', profile: 'code', workspace: { repo, depth } };
  for await (const { event, data } of streamPrompt(berth, body)) {
    if (event === 'text') return performance.now() - began;
    if (event === 'error') throw new Error(JSON.stringify(data));
  }
  throw new Error('the prompt had no answer');
}

/** Waits for the files that berth checks out in advance. @returns milliseconds */
async function filesReady(repo: string): Promise<number> {
  const began = performance.now();
  const staging = join(directory, 'workspace/staging');
  await until(`the files of ${repo} are ready`, () =>
    readdirSync(staging).some((name) => {
      const at = (file: string): string => join(staging, name, '.git', file);
      if (!existsSync(at('index')) || existsSync(at('berth-incomplete'))) return false;
      return readFileSync(at('config'), 'utf8').includes(`/${repo}`);
    }),
  );
  return performance.now() - began;
}

/** A clone and a cold process, without berth. */
async function byHand(repo: string): Promise<number> {
  await delay(settling);
  const clone = mkdtempSync(join(directory, 'clone-'));
  const env = { ...gitEnvironment(), PATH: process.env.PATH ?? '' };
  const began = performance.now();
  const args = ['clone', '--quiet', '--depth', String(depth), `${repositories.url}/${repo}`, clone];
  await ended(spawn('git', args, { env, stdio: 'inherit' }));
  const flags = ['--output-format=stream-json', '--verbose', '--include-partial-messages'];
  const child = spawn(realClaude, ['-p', '[[say x]]', ...flags], {
    cwd: clone,
    env: { ...env, ...claudeEnvironment(api.url, 'config-by-hand') },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let seen = '';
  let first = Number.NaN;
  child.stdout.on('data', (chunk: Buffer) => {
    seen += chunk.toString('utf8');
    if (Number.isNaN(first) && seen.includes('text_delta')) first = performance.now() - began;
  });
  await ended(child);
  rmSync(clone, { recursive: true, force: true });
  return first;
}

function ended(child: ReturnType<typeof spawn>): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`${child.spawnfile} ended with ${code}`));
    });
  });
}
