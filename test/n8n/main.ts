/**
 * `npm run test:n8n`: imports the workflows of examples/n8n into a real n8n and runs each by hand
 * (`n8n execute`), against `berth serve` with the real CLI and stand-ins for the Messages API and
 * GitHub. Workflows of the test use the community node of examples/n8n-node and n8n's MCP Client node.
 * Beside it `n8n start` takes the callbacks of the workflows that wait. Opt-in: n8n takes 2.3 GB and many minutes to
 * install, into a temporary folder, or into N8N_DIRECTORY, where it is used again. Prints what each workflow gave; fails
 * if one is not as it should be. Arguments are the names of the only workflows to run: `-- node-ask mcp-client`.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { makeWebhookSecret } from '../../supervisor/jobs/callbacks/webhook-secrets.ts';
import { exampleOf } from '../support/messages-api/default-answer.ts';
import { type MessagesApi, startMessagesApi } from '../support/messages-api.ts';
import { readWorkflow, workflowTexts } from '../support/n8n-workflows.ts';
import { type Program, startProgram } from '../support/programs.ts';
import { until } from '../support/until.ts';
import { checks } from './checks.ts';
import { buildExtension, credentialsFor, nodeWorkflows } from './community-node.ts';
import { type CommentedGitHub, githubToken, startGitHub } from './github.ts';

const version = '2.8.4';
/** The workflows that sleep, and go on when berth calls. */
const waiting = ['job-wait', 'node-wait'];
const run = promisify(execFile);

interface Scene {
  n8n: (...args: string[]) => Promise<string>;
  api: MessagesApi;
  github: CommentedGitHub;
  berth: Program;
  /** `n8n start`, for the calls of berth; undefined if no workflow waits for one. */
  server: ChildProcess | undefined;
  /** Names of the workflows that run. */
  names: string[];
}

const installed = install();
const root = mkdtempSync(join(tmpdir(), 'berth-n8n-'));
const scene = await open();
try {
  const given = new Map<string, Record<string, unknown>>();
  for (const name of scene.names) {
    const started = performance.now();
    const output = await scene.n8n('execute', `--id=berth-${name}`, '--rawOutput');
    given.set(name, waiting.includes(name) ? await lastItemOfWaiting(name) : lastItem(output));
    const seconds = ((performance.now() - started) / 1_000).toFixed(1);
    process.stdout.write(`${name}: ${JSON.stringify(given.get(name))} in ${seconds} s\n`);
  }
  for (const [name, item] of given) checks[name]?.(item, scene);
  process.stdout.write(
    `n8n ${version} ran ${given.size} workflows, and all did what they should\n`,
  );
} finally {
  if (scene.server) {
    scene.server.kill('SIGTERM');
    await once(scene.server, 'close');
  }
  scene.berth.kill('SIGTERM');
  await scene.berth.ended;
  await Promise.all([scene.api.close(), scene.github.close()]);
  rmSync(root, { recursive: true, force: true });
  if (process.env.N8N_DIRECTORY === undefined) rmSync(installed, { recursive: true, force: true });
}

/** Returns the folder that has n8n. */
function install(): string {
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

async function open(): Promise<Scene> {
  const [api, github] = await Promise.all([startMessagesApi(), startGitHub()]);
  // As a model does: where a schema is given, it calls the tool for it once.
  api.reply(({ body }) => {
    const tool = body?.tools?.find(({ name }) => name === 'StructuredOutput');
    if (!tool || JSON.stringify(body?.messages?.at(-1)).includes('tool_result')) return undefined;
    return { tool: { name: tool.name, input: exampleOf(tool.input_schema) as object } };
  });
  const token = makeToken();
  for (const name of ['volume', 'home', 'n8n', 'workflows']) mkdirSync(join(root, name));
  writeFileSync(join(root, 'tokens'), `${tokenLine('n8n', token)}\n`);
  writeFileSync(join(root, 'webhook-secret'), makeWebhookSecret());
  const berth = startProgram('serve', {
    arguments: ['serve'],
    environment: {
      HOME: join(root, 'home'),
      BERTH_CONFIG_DIR: join(root, 'volume'),
      BERTH_WORKSPACE_DIR: join(root, 'workspace'),
      BERTH_API_TOKENS_FILE: join(root, 'tokens'),
      BERTH_HTTP_LISTEN: '127.0.0.1:0',
      BERTH_METRICS_LISTEN: '127.0.0.1:0',
      BERTH_DRAIN_DELAY: '0s',
      BERTH_CALLBACK_HOSTS: '127.0.0.0/8',
      BERTH_WEBHOOK_SECRET_FILE: join(root, 'webhook-secret'),
      BERTH_CLAUDE_PATH: join(import.meta.dirname, '../../node_modules/.bin/claude'),
      ANTHROPIC_BASE_URL: api.url,
      ANTHROPIC_API_KEY: 'sk-ant-test-0123456789',
    },
  });
  const { address } = await berth.logged('listening');
  await buildExtension(join(root, 'extension'));
  const environment = await environmentOfN8n();
  const n8n = client(environment);
  const header = (id: string, name: string, secret: string) => ({
    ...{ id, name, type: 'httpHeaderAuth' },
    data: { name: 'Authorization', value: `Bearer ${secret}` },
  });
  const credentials: object[] = [
    header('berth', 'berth', token),
    header('github-for-n8n', 'GitHub for n8n', githubToken),
  ];
  credentials.push(...credentialsFor(String(address), token));
  writeFileSync(join(root, 'credentials.json'), JSON.stringify(credentials));
  await n8n('import:credentials', `--input=${join(root, 'credentials.json')}`);
  const places = { berth: String(address), github: github.url };
  const examples = Object.entries(workflowTexts()).map(([name, text]): [string, object] => [
    name,
    readWorkflow(text, places),
  ]);
  const all = [...examples, ...Object.entries(nodeWorkflows(places.berth))];
  const wanted = process.argv.slice(2);
  const workflows = all.filter(([name]) => wanted.length === 0 || wanted.includes(name));
  for (const [name, workflow] of workflows) {
    writeFileSync(join(root, 'workflows', `${name}.json`), JSON.stringify(workflow));
  }
  await n8n('import:workflow', '--separate', `--input=${join(root, 'workflows')}`);
  const names = workflows.map(([name]) => name);
  const waits = names.some((name) => waiting.includes(name));
  const server = waits ? await startServer(environment) : undefined;
  return { n8n, api, github, berth, server, names };
}

async function environmentOfN8n(): Promise<Record<string, string | undefined>> {
  const free = createServer().listen(0, '127.0.0.1');
  await once(free, 'listening');
  const { port } = free.address() as AddressInfo;
  free.close();
  return {
    PATH: process.env.PATH,
    HOME: join(root, 'n8n'),
    N8N_USER_FOLDER: join(root, 'n8n'),
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

async function startServer(environment: Record<string, string | undefined>): Promise<ChildProcess> {
  const server = spawn(process.execPath, [join(installed, 'node_modules/n8n/bin/n8n'), 'start'], {
    env: { ...environment, N8N_RUNNERS_BROKER_PORT: '15680' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  server.stdout.on('data', (chunk) => {
    output += chunk;
  });
  // It answers /healthz before it takes calls.
  const started = () => output.includes('Editor is now accessible');
  try {
    await until('n8n has started', started, 600_000);
  } catch (error) {
    server.kill('SIGKILL');
    throw error;
  }
  return server;
}

/** What the last node gave in the execution that went on in the server. */
async function lastItemOfWaiting(name: string): Promise<Record<string, unknown>> {
  const store = new DatabaseSync(join(root, 'n8n/.n8n/database.sqlite'), { readOnly: true });
  const query = store.prepare(
    "SELECT status, data FROM execution_entity JOIN execution_data ON executionId = id WHERE execution_entity.workflowId = ? AND status IN ('success', 'error', 'crashed')",
  );
  try {
    const { status, data } = await until('the execution ends', () => query.get(`berth-${name}`));
    assert.equal(status, 'success', String(data));
    // n8n stores it in the form of the library flatted: a list whose texts are indices.
    const all = JSON.parse(String(data)) as unknown[];
    const answer = all.find((each) => (each as { answer?: unknown } | null)?.answer !== undefined);
    const { state, answer: text } = answer as Record<string, string>;
    return { state: all[Number(state)], answer: all[Number(text)] };
  } finally {
    store.close();
  }
}

function client(env: Record<string, string | undefined>): Scene['n8n'] {
  return async (...args) => {
    const file = join(installed, 'node_modules/n8n/bin/n8n');
    const options = { env, timeout: 600_000, maxBuffer: 2 ** 26 };
    const { stdout } = await run(process.execPath, [file, ...args], options);
    return stdout;
  };
}

/** What the last node of an execution gave. */
function lastItem(output: string): Record<string, unknown> {
  const { data } = JSON.parse(output.slice(output.search(/^\{/m))) as {
    data: {
      resultData: {
        lastNodeExecuted: string;
        error?: unknown;
        runData: Record<string, { data: { main: { json: Record<string, unknown> }[][] } }[]>;
      };
    };
  };
  const { lastNodeExecuted, runData, error } = data.resultData;
  assert.equal(error, undefined);
  return runData[lastNodeExecuted]?.at(-1)?.data.main[0]?.[0]?.json ?? {};
}
