/**
 * A Supervisor in this process, on folders and ports of its own, with a CLI and the stand-in
 * Messages API; and a caller who talks to it over HTTP. Everything ends with the test.
 */
import type { Test } from 'tap';
import type { BerthError } from '../../shared/errors.ts';
import { readSupervisorConfig } from '../../supervisor/config.ts';
import { digestToken, fixedTokens, type Tokens } from '../../supervisor/http/tokens.ts';
import { Profiles } from '../../supervisor/profiles/profiles.ts';
import { type SupervisorOptions as Parts, Supervisor } from '../../supervisor/supervisor.ts';

import { type CapturedLog, captureLog } from './captured-log.ts';
import { makeSurroundings, realClaude, type Surroundings, scriptedClaude } from './claude.ts';
import { readEvents, type StreamEvent } from './read-events.ts';

export const token = 'a-token-of-the-tests';
const tokens = fixedTokens([
  { name: 'tests', digest: digestToken(token) },
  { name: 'somebody', digest: digestToken('a-token-of-somebody-else') },
]);

export interface SupervisorOptions {
  /** The CLI's executable; absent: the scripted one. */
  cli?: string;
  /** BERTH_ settings by their names. */
  settings?: Record<string, string>;
  /** More of the environment, or less where undefined. */
  environment?: Record<string, string | undefined>;
  /** Files of the configuration directory. */
  config?: Record<string, string>;
  /** Who may call, in the place of `tests` and `somebody`. */
  tokens?: Tokens;
  /** What else the entry would give the supervisor. */
  parts?: Partial<Parts>;
  /** The folders and the API of an earlier one. */
  surroundings?: Surroundings;
}

export interface Answered {
  status: number;
  headers: Headers;
  /** biome-ignore lint/suspicious/noExplicitAny: answers are matched, not computed with. */
  body: any;
}

export interface RunningSupervisor {
  supervisor: Supervisor;
  surroundings: Surroundings;
  log: CapturedLog;
  /** Where prompts are taken. */
  url: string;
  /** Where probes and metrics are. */
  metricsUrl: string;
  fatal: BerthError[];
  call(method: string, path: string, options?: CallOptions): Promise<Answered>;
  /** Posts a prompt and waits for its answer. */
  prompt(text: string, rest?: Record<string, unknown>, options?: CallOptions): Promise<Answered>;
  /** Posts a prompt and gives its events as they come. */
  stream(text: string, rest?: Record<string, unknown>, signal?: AbortSignal): Stream;
}

export type Stream = AsyncGenerator<StreamEvent, void, void>;

export interface CallOptions {
  token?: string;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** With the scripted CLI, which starts ten times faster than the real one and is held to it by a test. */
export async function startSupervisor(
  t: Test,
  options: SupervisorOptions = {},
): Promise<RunningSupervisor> {
  const made = await makeSupervisor(t, options);
  await made.supervisor.start(new AbortController().signal);
  return made;
}

/** With the real CLI: for what the CLI itself does with tools, hooks, files, logins and signals. */
export function startWithRealCli(
  t: Test,
  options: SupervisorOptions = {},
): Promise<RunningSupervisor> {
  return startSupervisor(t, { cli: realClaude, ...options });
}

/** One that is not started yet. */
export async function makeSupervisor(
  t: Test,
  options: SupervisorOptions = {},
): Promise<RunningSupervisor> {
  const surroundings = options.surroundings ?? (await makeSurroundings(t, options.config));
  const log = captureLog();
  const fatal: BerthError[] = [];
  const { config } = readSupervisorConfig({
    ...surroundings.inherited,
    BERTH_CONFIG_DIR: surroundings.config,
    BERTH_WORKSPACE_DIR: surroundings.workspace,
    BERTH_CLAUDE_PATH: options.cli ?? scriptedClaude,
    BERTH_HTTP_LISTEN: '127.0.0.1:0',
    BERTH_METRICS_LISTEN: '127.0.0.1:0',
    BERTH_DRAIN: '0s',
    BERTH_DRAIN_DELAY: '0s',
    BERTH_MAX_WORKERS: '2',
    // A process costs a second of a core: one is made when it is needed.
    BERTH_WARM_WORKERS: '0',
    ...options.settings,
    ...options.environment,
  });
  const { profilesFile: path, warmWorkers, maxWorkers, workingDirectory } = config;
  const profiles = await Profiles.open({
    path,
    warmWorkers,
    maxWorkers,
    workingDirectory,
    log: log.log,
    interval: 50,
  });
  const supervisor = new Supervisor({
    config,
    log: log.log,
    tokens: options.tokens ?? tokens,
    profiles,
    // A process of its own would cost each test a second of a core.
    testCli: async () => ({ learnsLate: false }),
    ...options.parts,
    onFatal: (error) => fatal.push(error),
  });
  t.teardown(async () => {
    await supervisor.stop();
    await profiles.close();
  });
  return {
    supervisor,
    surroundings,
    log,
    fatal,
    get url() {
      return String(supervisor.addresses.http);
    },
    get metricsUrl() {
      return String(supervisor.addresses.metrics);
    },
    call: async (method, path, callOptions = {}) =>
      read(await send(supervisor, method, path, callOptions)),
    prompt: async (text, rest = {}, callOptions = {}) =>
      read(
        await send(supervisor, 'POST', '/v1/prompts', {
          body: { prompt: text, ...rest },
          ...callOptions,
        }),
      ),
    async *stream(text, rest = {}, signal = undefined) {
      const response = await send(supervisor, 'POST', '/v1/prompts', {
        body: { prompt: text, ...rest },
        headers: { accept: 'text/event-stream' },
        ...(signal ? { signal } : {}),
      });
      yield* readEvents(response);
    },
  };
}

function send(
  { addresses }: Supervisor,
  method: string,
  path: string,
  { token: bearer = token, body, headers, signal }: CallOptions,
): Promise<Response> {
  return fetch(new URL(path, addresses.http), {
    method,
    headers: {
      authorization: `Bearer ${bearer}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    body: body === undefined ? null : textOf(body),
    signal: signal ?? null,
  });
}

function textOf(body: unknown): string {
  return typeof body === 'string' ? body : JSON.stringify(body);
}

async function read(response: Response): Promise<Answered> {
  const text = await response.text();
  const json = response.headers.get('content-type')?.includes('json');
  return {
    status: response.status,
    headers: response.headers,
    body: json ? JSON.parse(text) : text,
  };
}
