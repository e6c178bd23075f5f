/** The program n8n: its installation, its commands, and its server. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { freePort } from '../support/free-port.ts';
import { until } from '../support/until.ts';

export const version = '2.8.4';

const execute = promisify(execFile);

/** What the last node of an execution gave. */
export type Item = Record<string, unknown>;

interface RunData {
  resultData: {
    lastNodeExecuted: string;
    error?: unknown;
    runData: Record<string, { data: { main: { json: Item }[][] } }[]>;
  };
}

/** Returns the folder that has n8n. */
export function installN8n(): string {
  const directory = process.env.N8N_DIRECTORY ?? mkdtempSync(join(tmpdir(), 'n8n-'));
  if (existsSync(join(directory, 'node_modules/.bin/n8n'))) return directory;
  mkdirSync(directory, { recursive: true });
  process.stdout.write(`installing n8n ${version} into ${directory}, which takes many minutes\n`);
  // The registry has no newer xlsx, which n8n wants from elsewhere.
  const packageJson = { private: true, overrides: { xlsx: '0.18.5' } };
  writeFileSync(join(directory, 'package.json'), JSON.stringify(packageJson));
  const options = ['--no-audit', '--no-fund', '--save-exact'];
  execFileSync('npm', ['install', ...options, `n8n@${version}`], {
    cwd: directory,
    stdio: 'inherit',
  });
  return directory;
}

export class N8n {
  readonly #bin: string;
  readonly #home: string;
  readonly #environment: Record<string, string | undefined>;
  #server: ChildProcess | undefined;
  /** Where its webhooks are. */
  readonly url: string;

  private constructor(installed: string, root: string, port: number) {
    this.#bin = join(installed, 'node_modules/n8n/bin/n8n');
    this.#home = join(root, 'n8n');
    this.url = `http://127.0.0.1:${port}`;
    this.#environment = {
      PATH: process.env.PATH,
      HOME: this.#home,
      N8N_USER_FOLDER: this.#home,
      N8N_ENCRYPTION_KEY: 'a key of the test',
      N8N_DIAGNOSTICS_ENABLED: 'false',
      N8N_VERSION_NOTIFICATIONS_ENABLED: 'false',
      N8N_TEMPLATES_ENABLED: 'false',
      N8N_COMMUNITY_PACKAGES_ENABLED: 'false',
      N8N_CUSTOM_EXTENSIONS: join(root, 'extension'),
      N8N_RUNNERS_BROKER_PORT: '15679',
      N8N_LISTEN_ADDRESS: '127.0.0.1',
      N8N_PORT: String(port),
      WEBHOOK_URL: `http://127.0.0.1:${port}/`,
    };
  }

  /** @param root contains its folder, and `extension/` */
  static async make(installed: string, root: string): Promise<N8n> {
    const n8n = new N8n(installed, root, await freePort());
    mkdirSync(n8n.#home);
    return n8n;
  }

  /** Runs a command. @returns its standard output */
  async run(...args: string[]): Promise<string> {
    const options = { env: this.#environment, timeout: 600_000, maxBuffer: 2 ** 26 };
    const { stdout } = await execute(process.execPath, [this.#bin, ...args], options);
    return stdout;
  }

  /** Runs a workflow by hand. @returns the item of the last node; of a workflow that waits, that before the wait */
  async execute(id: string): Promise<Item> {
    const output = await this.run('execute', `--id=${id}`, '--rawOutput');
    // n8n writes lines of its log before and after the JSON.
    const [json = '{}'] = /^\{[\s\S]*?^\}$/m.exec(output) ?? [];
    return lastItem((JSON.parse(json) as { data: RunData }).data);
  }

  /** Takes the calls that continue and begin executions. */
  async start(): Promise<void> {
    const server = spawn(process.execPath, [this.#bin, 'start'], {
      env: { ...this.#environment, N8N_RUNNERS_BROKER_PORT: '15680' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#server = server;
    let output = '';
    server.stdout.on('data', (chunk) => {
      output += chunk;
    });
    // It answers /healthz before it takes calls.
    await until('n8n has started', () => output.includes('Editor is now accessible'), 600_000);
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server || server.exitCode !== null) return;
    server.kill('SIGTERM');
    await once(server, 'close');
  }

  /** The item of the last node of the execution that was started by hand and went on in the server. */
  async lastItemOfWaiting(id: string): Promise<Item> {
    const store = new DatabaseSync(join(this.#home, '.n8n/database.sqlite'), { readOnly: true });
    const query = store.prepare(
      "SELECT status, data FROM execution_entity JOIN execution_data ON executionId = id WHERE execution_entity.workflowId = ? AND mode <> 'webhook' AND status IN ('success', 'error', 'crashed')",
    );
    try {
      const ended = await until('the execution ends', () => query.get(id), 300_000);
      assert.equal(ended.status, 'success', String(ended.data));
      return lastItem(unflatten(String(ended.data)) as RunData);
    } finally {
      store.close();
    }
  }
}

function lastItem({ resultData: { lastNodeExecuted, runData, error } }: RunData): Item {
  assert.equal(error, undefined);
  return runData[lastNodeExecuted]?.at(-1)?.data.main[0]?.[0]?.json ?? {};
}

/** n8n stores executions in the form of the library flatted: a list in which a text within a value is an index. */
function unflatten(text: string): unknown {
  const list = JSON.parse(text) as unknown[];
  const made = new Map<number, unknown>();
  const at = (index: number): unknown => {
    if (made.has(index)) return made.get(index);
    const value = list[index];
    if (typeof value !== 'object' || value === null) return value;
    const result: Record<string, unknown> | unknown[] = Array.isArray(value) ? [] : {};
    made.set(index, result);
    for (const [key, each] of Object.entries(value)) {
      Object.assign(result, { [key]: typeof each === 'string' ? at(Number(each)) : each });
    }
    return result;
  };
  return at(0);
}
