/**
 * Jobs come in while `berth serve` is killed without warning again and again, at moments that a seed decides. Each kill
 * takes the supervisor alone, or the supervisor with all its workers.
 * What must hold: each accepted job ends once and succeeds, none is lost, none is there twice, and after its end is
 * stored no request of its turn reaches the model.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { bashAllowed } from '../support/claude.ts';
import { startMessagesApi } from '../support/messages-api.ts';
import { processesOf } from '../support/processes.ts';
import { type Program, startProgram } from '../support/programs.ts';
import { until } from '../support/until.ts';
import { Random } from './random.ts';

export interface JobsRunOptions {
  directory: string;
  /** The CLI's executable. */
  cli: string;
  jobs: number;
  kills: number;
  seed: number;
  /** Milliseconds between two kills, at most. */
  between: number;
  onKill?: (count: number) => void;
}

export interface JobsRunResult {
  /** Jobs that ended, by state. */
  ended: Record<string, number>;
  /** Jobs that berth has continued after a kill, with their attempts as they should be. */
  continued: number;
  /** Requests to the model with the first text of a job, beyond the first: turns that had not ended. */
  repeated: number;
  problems: string[];
  seconds: number;
}

interface Seen {
  id: string;
  state: string;
  ended_at: string | null;
  attempts: unknown[];
  result?: { result: string; warnings: string[] };
  error?: { code: string; detail: string };
}

const endStates = ['succeeded', 'failed', 'cancelled', 'expired'];
/** Milliseconds that a job may take after the last kill. */
const patience = 240_000;
/** Milliseconds by which the clocks of two processes on one machine may be read apart. */
const slack = 50;

export async function runJobs(options: JobsRunOptions): Promise<JobsRunResult> {
  const { jobs, seed } = options;
  const began = performance.now();
  await using cleanup = new AsyncDisposableStack();
  const api = await startMessagesApi();
  cleanup.defer(() => api.close());
  /** By job: when each of its requests reached the model. */
  const requests = new Map<number, { at: number; first: boolean }[]>();
  api.reply(({ body }) => {
    const text = JSON.stringify(body?.messages ?? []);
    const job = Number(/the job (\d+):/.exec(text)?.[1] ?? Number.NaN);
    const known = requests.get(job) ?? [];
    requests.set(job, [...known, { at: Date.now(), first: !/"assistant"/.test(text) }]);
    return undefined;
  });
  const berth = new KilledBerth(options, api.url);
  cleanup.defer(() => berth.end());
  await berth.prepare();
  await berth.start();
  const random = new Random(seed);
  const killing = killAgain(berth, random, options);
  const ids = await sendJobs(berth, jobs, new Random(seed + 1));
  await killing;
  const last = Date.now();
  const seen = await waitForAll(berth, ids, last + patience);
  const problems = [
    ...(new Set(ids).size < jobs ? ['two requests got the same job'] : []),
    ...seen.flatMap((job, index) => problemsOf(job, index, requests.get(index) ?? [])),
    ...(await strangers(berth, ids)),
  ];
  const firsts = [...requests.values()].map((all) => all.filter(({ first }) => first).length);
  return {
    ended: countBy(seen.map(({ state }) => state)),
    continued: seen.filter(({ result }) => result && !isPlain(result)).length,
    repeated: firsts.reduce((sum, count) => sum + Math.max(0, count - 1), 0),
    problems,
    seconds: Math.round((performance.now() - began) / 1_000),
  };
}

/** A turn that nobody has interrupted answers with the text that its prompt names. */
function isPlain({ result, warnings }: NonNullable<Seen['result']>): boolean {
  return /^done \d+$|The tool answered/.test(result) && warnings.length === 0;
}

function problemsOf(
  { id, state, ended_at, result, error, attempts }: Seen,
  index: number,
  requests: readonly { at: number }[],
): string[] {
  const name = `the job ${index} (${id})`;
  if (state !== 'succeeded') return [`${name} is ${state}: ${error?.code} ${error?.detail}`];
  const late = requests.filter(({ at }) => at > Date.parse(ended_at ?? '') + slack);
  return [
    ...(requests.length === 0 ? [`${name} has succeeded without the model`] : []),
    ...(late.length > 0 ? [`${name} reached the model ${late.length} times after its end`] : []),
    ...(result?.result ? [] : [`${name} has no result`]),
    ...(attempts.length === 1 ? [] : [`${name} has ${attempts.length} attempts`]),
  ];
}

/** Jobs that nobody has sent. */
async function strangers(berth: KilledBerth, ids: readonly string[]): Promise<string[]> {
  let cursor = '';
  const found: string[] = [];
  do {
    const { body } = await berth.call('GET', `/v1/jobs?limit=100${cursor && `&cursor=${cursor}`}`);
    found.push(...body.jobs.map(({ id }: Seen) => id));
    cursor = body.cursor ?? body.next_cursor ?? '';
  } while (cursor);
  const extra = found.filter((id) => !ids.includes(id));
  return [
    ...extra.map((id) => `${id} is in the store, and nobody has sent it`),
    ...(found.length < ids.length ? [`${ids.length - found.length} jobs are not in the list`] : []),
  ];
}

async function killAgain(
  berth: KilledBerth,
  random: Random,
  { kills, between, onKill }: JobsRunOptions,
): Promise<void> {
  for (let count = 1; count <= kills; count++) {
    await delay(100 + random.below(between));
    // Some kills come while the supervisor still starts.
    await berth.kill(random.below(2) === 0);
    onKill?.(count);
    const started = berth.start();
    if (random.below(5) > 0) await started;
    else started.catch(() => undefined);
  }
  await berth.start();
}

/** Sends jobs until each is accepted, with a key that makes a repeated request harmless. @returns their ids */
async function sendJobs(berth: KilledBerth, jobs: number, random: Random): Promise<string[]> {
  const ids: string[] = [];
  for (let index = 0; index < jobs; index++) {
    const prompt = `the job ${index}: ${workOf(index, random)}`;
    const body = { prompt, priority: random.below(3) === 0 ? 'background' : 'normal' };
    const { id } = await until(
      `the job ${index} is accepted`,
      async () => {
        const reply = await berth
          .call('POST', '/v1/jobs', body, { 'idempotency-key': `soak-${index}` })
          .catch(() => undefined);
        if (reply && reply.status !== 202 && reply.status !== 503) {
          throw new Error(`the job ${index} was refused: ${JSON.stringify(reply.body)}`);
        }
        return reply?.status === 202 && reply.body;
      },
      patience,
    );
    ids.push(id);
    await delay(random.below(60));
  }
  return ids;
}

function workOf(index: number, random: Random): string {
  switch (random.below(4)) {
    case 0:
      return `[[slow 300]] [[say done ${index}]]`;
    case 1:
      return `[[tool Bash {"command":"sleep 1.5; echo ${index}"}]]`;
    default:
      return `[[say done ${index}]]`;
  }
}

async function waitForAll(
  berth: KilledBerth,
  ids: readonly string[],
  deadline: number,
): Promise<Seen[]> {
  const seen: Seen[] = [];
  for (const id of ids) {
    const left = Math.max(1_000, deadline - Date.now());
    const job = await until<Seen>(
      `${id} has ended`,
      async () => {
        const { status, body } = await berth.call('GET', `/v1/jobs/${id}`);
        if (status === 404) return { id, state: 'lost', ended_at: null, attempts: [] };
        return endStates.includes(body.state) && body;
      },
      left,
    ).catch(async (): Promise<Seen> => {
      const { body } = await berth.call('GET', `/v1/jobs/${id}`);
      const detail = JSON.stringify(body).slice(0, 400);
      return { id, state: body.state, ended_at: null, attempts: [], error: { code: '', detail } };
    });
    seen.push(job);
  }
  return seen;
}

class KilledBerth {
  readonly #options: JobsRunOptions;
  readonly #api: string;
  readonly #token = makeToken();
  readonly #config: string;
  #program: Program | undefined;
  #address = '';
  #starting: Promise<void> | undefined;
  #isEnding = false;
  #fault: string | undefined;

  constructor(options: JobsRunOptions, api: string) {
    this.#options = options;
    this.#api = api;
    this.#config = join(options.directory, 'config');
  }

  async prepare(): Promise<void> {
    const { directory } = this.#options;
    for (const name of ['config', 'home', 'workspace']) await mkdir(join(directory, name));
    await writeFile(join(directory, 'tokens'), tokenLine('soak', this.#token));
    await writeFile(join(this.#config, 'settings.json'), bashAllowed);
  }

  /** Resolves when it listens. */
  start(): Promise<void> {
    this.#starting ??= this.#start();
    return this.#starting;
  }

  async #start(): Promise<void> {
    const { directory, cli } = this.#options;
    const program = startProgram('serve', {
      arguments: ['serve'],
      environment: {
        HOME: join(directory, 'home'),
        ANTHROPIC_API_KEY: 'sk-ant-soak-not-a-key',
        ANTHROPIC_BASE_URL: this.#api,
        BERTH_CONFIG_DIR: this.#config,
        BERTH_WORKSPACE_DIR: join(directory, 'workspace'),
        BERTH_API_TOKENS_FILE: join(directory, 'tokens'),
        BERTH_CLAUDE_PATH: cli,
        BERTH_HTTP_LISTEN: '127.0.0.1:0',
        BERTH_METRICS_LISTEN: '127.0.0.1:0',
        BERTH_MAX_WORKERS: '3',
        BERTH_WARM_WORKERS: '0',
        BERTH_SHARED_SPARES: '0',
        BERTH_DRAIN_DELAY: '0s',
        BERTH_DRAIN: '5s',
      },
    });
    this.#program = program;
    void program.ended.then((how) => {
      // A supervisor that ends by itself is a fault of its own; the next requests would only be refused.
      if (this.#program === program && !this.#isEnding)
        this.#fault = `ended with ${how}:\n${program.output.slice(-4_000)}`;
    });
    const { address } = await program.logged('listening');
    if (this.#program === program) this.#address = String(address);
  }

  /** @param workers whether its workers are killed too, as when the container ends */
  async kill(workers: boolean): Promise<void> {
    const program = this.#program;
    this.#program = undefined;
    this.#starting = undefined;
    this.#address = '';
    if (!program) return;
    const found = workers ? processesOf(this.#config) : [];
    program.kill('SIGKILL');
    for (const { pid } of found) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // The process has already ended.
      }
    }
    await program.ended;
  }

  async end(): Promise<void> {
    const program = this.#program;
    this.#isEnding = true;
    program?.kill('SIGTERM');
    await program?.ended;
  }

  async call(method: string, path: string, body?: object, headers: Record<string, string> = {}) {
    if (this.#fault) throw new Error(this.#fault);
    const response = await fetch(new URL(path, this.#address), {
      method,
      headers: {
        authorization: `Bearer ${this.#token}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
        ...headers,
      },
      body: body ? JSON.stringify(body) : null,
      signal: AbortSignal.timeout(30_000),
    });
    // biome-ignore lint/suspicious/noExplicitAny: answers are read field by field.
    const read = (await response.json()) as any;
    return { status: response.status, body: read };
  }
}

function countBy(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
