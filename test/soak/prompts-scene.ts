/**
 * What the prompts of the soak run against: the bundle of the supervisor as a process of its own, with
 * four workers, two tokens and three profiles; and the stand-in API, which looks at every request.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agent } from 'undici';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { bashAllowed } from '../support/claude.ts';
import { type MessagesApi, startMessagesApi } from '../support/messages-api.ts';
import { processesOf } from '../support/processes.ts';
import { type LogLine, type Program, startProgram } from '../support/programs.ts';
import { until } from '../support/until.ts';

/** One process of the pool, as `/v1/status` has it. */
export interface WorkerStatus {
  state: string;
  pid: number;
}

export interface Scene {
  url: string;
  tokens: readonly string[];
  volume: string;
  api: MessagesApi;
  program: Program;
  readonly agent: Agent;
  /** Closes all connections of clients. */
  renewAgent(): Promise<void>;
  workers(): Promise<WorkerStatus[]>;
  /** Waits until nothing runs and only the warm processes are left; what is open then. */
  rest(): Promise<AtRest>;
}

export interface AtRest {
  descriptors: number;
  /** Processes that belong to no worker, and children that nobody waited for. */
  strays: number;
}

/** As often as they stand here. */
export const profiles = ['default', 'default', 'directory', 'directory', 'budget'] as const;

const profilesFile = `
profiles:
  default: { warm: 1, overrides: [timeout] }
  directory: { warm: 1, working_directory: session, overrides: [timeout] }
  budget: { limits: { max_budget_usd: 5 }, overrides: [timeout] }
`;

/**
 * @param directory an empty one, for everything that is made
 * @param cli the executable of the CLI
 */
export async function startScene(
  directory: string,
  cli: string,
  onLine: (line: LogLine) => void,
): Promise<Scene> {
  const [home, volume, temporary] = ['home', 'volume', 'tmp'].map((name) => join(directory, name));
  for (const path of [home, volume, temporary]) mkdirSync(path as string);
  const tokens = [makeToken(), makeToken()];
  const lines = tokens.map((token, index) => tokenLine(`token-${index}`, token));
  writeFileSync(join(directory, 'tokens'), `${lines.join('\n')}\n`);
  writeFileSync(join(directory, 'profiles.yaml'), profilesFile);
  writeFileSync(join(volume as string, 'settings.json'), bashAllowed);
  const api = await startMessagesApi();
  const program = startProgram('serve', {
    arguments: ['serve'],
    onLine,
    environment: {
      HOME: home,
      TMPDIR: temporary,
      BERTH_CONFIG_DIR: volume,
      BERTH_WORKSPACE_DIR: join(directory, 'workspace'),
      BERTH_API_TOKENS_FILE: join(directory, 'tokens'),
      BERTH_PROFILES_FILE: join(directory, 'profiles.yaml'),
      BERTH_HTTP_LISTEN: '127.0.0.1:0',
      BERTH_METRICS_LISTEN: '127.0.0.1:0',
      BERTH_CLAUDE_PATH: cli,
      BERTH_MAX_WORKERS: '4',
      BERTH_WORKER_IDLE_TIMEOUT: '5s',
      ANTHROPIC_BASE_URL: api.url,
      ANTHROPIC_API_KEY: 'sk-ant-test-0123456789',
      CLAUDE_CODE_MAX_RETRIES: '0',
    },
  });
  const url = String((await program.logged('listening')).address);
  let agent = new Agent();
  const workers = async (): Promise<WorkerStatus[]> => {
    const headers = { authorization: `Bearer ${tokens[0]}`, connection: 'close' };
    const { body } = await agent.request({
      origin: url,
      path: '/v1/status',
      method: 'GET',
      headers,
    });
    return ((await body.json()) as { workers: WorkerStatus[] }).workers;
  };
  const rest = async (): Promise<AtRest> => {
    const isAtRest = async (): Promise<boolean> => {
      const found = await workers();
      return found.length >= 2 && found.every(({ state }) => state === 'warm');
    };
    await until('only the warm workers are left', isAtRest, 180_000);
    const own = new Set((await workers()).map(({ pid }) => pid));
    const strays = processesOf(volume as string).filter(({ pid }) => !own.has(pid));
    return {
      descriptors: readdirSync(`/proc/${program.pid}/fd`).length,
      strays: strays.length + zombiesOf(program.pid),
    };
  };
  return {
    ...{ url, tokens, volume: volume as string, api, program, workers, rest },
    get agent() {
      return agent;
    },
    async renewAgent() {
      const before = agent;
      agent = new Agent();
      await before.close();
    },
  };
}

function zombiesOf(parent: number): number {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.filter((pid) => {
    try {
      const [state, owner] =
        readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
      return state === 'Z' && Number(owner) === parent;
    } catch {
      return false;
    }
  }).length;
}
