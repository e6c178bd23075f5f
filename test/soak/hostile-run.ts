/**
 * A real `berth serve` under hostile requests: those of the fuzzer, connections that say nothing, bodies
 * that trickle, heads without end and streams whose reader goes away, all at once.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request as begin } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { type HostileRequest, hostileRequests, type Paths } from '../support/hostile-requests.ts';
import { type Program, startProgram } from '../support/programs.ts';

export interface HostileOptions {
  /** An empty directory. */
  directory: string;
  claude: string;
  environment?: Record<string, string>;
  milliseconds: number;
  seed: number;
  /** How many different requests are made of it, before the time begins. */
  different: number;
}

export interface HostileFigures {
  requests: number;
  /** By status; `cut` for those without an answer. */
  answers: Record<string, number>;
  /** Answers that say that berth has a bug. */
  bugs: string[];
  /** Of `/livez`, in milliseconds. */
  livez: { count: number; failed: number; p50: number; p99: number; max: number };
  /** Of the supervisor's process, in MB. */
  rss: { before: number; most: number; after: number };
  exitCode: number | string;
}

const token = 'a-token-of-the-tests';
const fields =
  'model, append_system_prompt, allowed_tools, max_turns, max_budget_usd, output_schema, timeout';
const lanes = 8;

export async function runHostile(options: HostileOptions): Promise<HostileFigures> {
  const program = start(options);
  try {
    const { address, metrics_address } = await program.logged('listening');
    const paths = (await (await fetch(`${address}/openapi.json`)).json()) as { paths: Paths };
    const rss = { before: rssOf(program), most: 0, after: 0 };
    const arbitrary = hostileRequests(paths.paths, ['0'.repeat(8)]);
    const made = fc.sample(arbitrary, { seed: options.seed, numRuns: options.different });
    const probe = startProbe(`${metrics_address}/livez`);
    const figures = { requests: 0, answers: {} as Record<string, number>, bugs: [] as string[] };
    const end = performance.now() + options.milliseconds;
    const isOver = () => performance.now() >= end;
    const watching = setInterval(() => {
      rss.most = Math.max(rss.most, rssOf(program));
    }, 200);
    const one = async (): Promise<void> => {
      while (!isOver()) {
        const next = made[figures.requests % made.length] as HostileRequest;
        figures.requests += 1;
        const answer = await send(String(address), next);
        figures.answers[answer.status] = (figures.answers[answer.status] ?? 0) + 1;
        if (answer.body.includes('"code":"internal"')) figures.bugs.push(answer.body.slice(0, 500));
      }
    };
    const connections = attackConnections(new URL(String(address)), isOver);
    await Promise.all([...Array.from({ length: lanes }, one), connections]);
    clearInterval(watching);

    const livez = summary(await probe.end());
    await delay(1_000);
    rss.after = rssOf(program);
    program.kill('SIGTERM');
    return { ...figures, livez, rss, exitCode: await program.ended };
  } finally {
    program.kill('SIGKILL');
  }
}

function start({ directory, claude, environment }: HostileOptions): Program {
  const at = (name: string): string => join(directory, name);
  for (const name of ['volume', 'home', 'workspace']) mkdirSync(at(name), { recursive: true });
  writeFileSync(at('tokens'), `n8n:${token}\n`);
  writeFileSync(at('profiles'), `default: wide\nprofiles: {wide: {overrides: [${fields}]}}\n`);
  return startProgram('serve', {
    arguments: ['serve'],
    environment: {
      HOME: at('home'),
      BERTH_CONFIG_DIR: at('volume'),
      BERTH_WORKSPACE_DIR: at('workspace'),
      BERTH_API_TOKENS_FILE: at('tokens'),
      BERTH_PROFILES_FILE: at('profiles'),
      BERTH_HTTP_LISTEN: '127.0.0.1:0',
      BERTH_METRICS_LISTEN: '127.0.0.1:0',
      BERTH_DRAIN: '0s',
      BERTH_DRAIN_DELAY: '0s',
      BERTH_MAX_WORKERS: '2',
      BERTH_WARM_WORKERS: '0',
      BERTH_PROMPT_TIMEOUT: '20s',
      BERTH_CLAUDE_PATH: claude,
      ANTHROPIC_API_KEY: 'sk-ant-test-0123456789',
      ...environment,
    },
  });
}

/** Every tenth goes away before it has its answer. */
let sent = 0;

async function send(
  origin: string,
  { method, path, headers, body }: HostileRequest,
): Promise<{ status: string; body: string }> {
  sent += 1;
  const patience = sent % 10 === 0 ? 20 : 30_000;
  try {
    const response = await fetch(origin + path, {
      method,
      headers: { authorization: `Bearer ${token}`, ...headers },
      body: body ?? null,
      signal: AbortSignal.timeout(patience),
    });
    return { status: String(response.status), body: await response.text() };
  } catch {
    return { status: 'cut', body: '' };
  }
}

/** Connections that say nothing, with and without a token, trickling bodies and heads without end. */
async function attackConnections({ port, hostname }: URL, isOver: () => boolean): Promise<void> {
  const open = () => {
    const socket = connect(Number(port), hostname);
    socket.on('error', () => {}).resume();
    return socket;
  };
  const head = `POST /v1/prompts HTTP/1.1\r\nhost: berth\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json\r\n`;
  while (!isOver()) {
    const sockets = Array.from({ length: 100 }, open);
    for (const [index, socket] of sockets.entries()) {
      if (index % 4 === 1) socket.write(`${head}content-length: 1000000\r\n\r\n{"prompt":"`);
      if (index % 4 === 2) socket.write(`GET / HTTP/1.1\r\nx: ${'x'.repeat(30_000)}`);
      if (index % 4 === 3) socket.write(`${head}content-length: 15\r\n\r\n{"prompt":"hi"}`);
    }
    for (let tick = 0; tick < 10 && !isOver(); tick++) {
      await delay(200);
      for (const socket of sockets) if (socket.writable) socket.write('x');
    }
    for (const socket of sockets) socket.destroy();
    // One that reads nothing of its answer.
    begin({ port, host: hostname, path: '/docs', agent: false })
      .on('error', () => {})
      .end();
  }
}

function startProbe(url: string): { end: () => Promise<number[]> } {
  const script = join(import.meta.dirname, 'hostile-probe.ts');
  const child = spawn(process.execPath, [script, url], { stdio: ['pipe', 'pipe', 'inherit'] });
  const output = text(child.stdout);
  return {
    end: async () => {
      child.stdin.end();
      return JSON.parse(await output);
    },
  };
}

function summary(took: number[]): HostileFigures['livez'] {
  const answered = took.filter((each) => each >= 0).sort((one, other) => one - other);
  const at = (share: number): number =>
    Math.round(answered[Math.min(answered.length - 1, Math.floor(answered.length * share))] ?? -1);
  const failed = took.length - answered.length;
  return { count: took.length, failed, p50: at(0.5), p99: at(0.99), max: at(1) };
}

function rssOf({ pid }: Program): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
  } catch {
    return 0;
  }
}
