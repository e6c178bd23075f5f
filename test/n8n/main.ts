/**
 * `npm run test:n8n`: imports the workflows of examples/n8n into a real n8n and runs each by hand
 * (`n8n execute`), against `berth serve` with the real CLI and stand-ins for the Messages API and
 * GitHub. Beside it `n8n start` takes the callback of the workflow with a Wait node. Opt-in: n8n takes 2.3 GB and many minutes to install, into a temporary folder, or into
 * N8N_DIRECTORY, where it is used again. Prints what each workflow gave; fails if one is not as it
 * should be.
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
import { type CommentedGitHub, diff, githubToken, source, startGitHub } from './github.ts';

const version = '2.8.4';
/** The workflow that ends in a Wait node, and goes on when berth calls. */
const waiting = 'job-wait';
const run = promisify(execFile);

interface Scene {
  n8n: (...args: string[]) => Promise<string>;
  api: MessagesApi;
  github: CommentedGitHub;
  berth: Program;
  /** `n8n start`, for the calls of Wait nodes. */
  server: ChildProcess;
}

const installed = install();
const root = mkdtempSync(join(tmpdir(), 'berth-n8n-'));
const scene = await open();
try {
  const given = new Map<string, unknown>();
  for (const name of Object.keys(workflowTexts())) {
    const started = performance.now();
    const output = await scene.n8n('execute', `--id=berth-${name}`, '--rawOutput');
    given.set(name, name === waiting ? await lastItemOfWaiting() : lastItem(output));
    const seconds = ((performance.now() - started) / 1_000).toFixed(1);
    process.stdout.write(`${name}: ${JSON.stringify(given.get(name))} in ${seconds} s\n`);
  }
  check(given, scene);
  process.stdout.write(
    `n8n ${version} ran ${given.size} workflows, and all did what they should\n`,
  );
} finally {
  scene.server.kill('SIGTERM');
  await once(scene.server, 'close');
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
  const environment = await environmentOfN8n();
  const n8n = client(environment);
  const header = (id: string, name: string, secret: string) => ({
    ...{ id, name, type: 'httpHeaderAuth' },
    data: { name: 'Authorization', value: `Bearer ${secret}` },
  });
  const credentials = [
    header('berth', 'berth', token),
    header('github-for-n8n', 'GitHub for n8n', githubToken),
  ];
  writeFileSync(join(root, 'credentials.json'), JSON.stringify(credentials));
  await n8n('import:credentials', `--input=${join(root, 'credentials.json')}`);
  for (const [name, text] of Object.entries(workflowTexts())) {
    const workflow = readWorkflow(text, { berth: String(address), github: github.url });
    writeFileSync(join(root, 'workflows', `${name}.json`), JSON.stringify(workflow));
  }
  await n8n('import:workflow', '--separate', `--input=${join(root, 'workflows')}`);
  const server = await startServer(environment);
  return { n8n, api, github, berth, server };
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
  await until('n8n has started', () => output.includes('Editor is now accessible'), 300_000);
  return server;
}

/** What the last node gave in the execution that went on in the server. */
async function lastItemOfWaiting(): Promise<Record<string, unknown>> {
  const store = new DatabaseSync(join(root, 'n8n/.n8n/database.sqlite'), { readOnly: true });
  const query = store.prepare(
    "SELECT status, data FROM execution_entity JOIN execution_data ON executionId = id WHERE execution_entity.workflowId = ? AND status IN ('success', 'error', 'crashed')",
  );
  try {
    const { status, data } = await until('the execution ends', () => query.get(`berth-${waiting}`));
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
    const options = { env, timeout: 300_000, maxBuffer: 2 ** 26 };
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

function check(given: Map<string, unknown>, { api, github, berth }: Scene): void {
  const example = { mood: 'good', complaint: false, summary: 'Stand-in' };
  assert.deepEqual(given.get('structured-output'), example);
  const report = { needs_a_person: false, headline: 'Stand-in', report: 'Stand-in' };
  assert.deepEqual(given.get('maintenance-report'), report);
  assert.deepEqual(github.comments, ['**approve**\n\nStand-in']);
  assert.equal(github.issues.length, 1);
  assert.equal(github.issues[0]?.title, 'Documentation of src/index.ts');
  assert.match(github.issues[0]?.body ?? '', /^\[stand-in\] You said: Write the documentation/);
  for (const name of [waiting, 'job-poll']) {
    const { state, answer } = given.get(name) as Record<string, string>;
    assert.equal(state, 'succeeded', name);
    assert.match(answer ?? '', /^\[stand-in\] You said: Write a haiku/);
  }
  const delivered = berth.lines.filter(({ event }) => event === 'callback_delivered');
  assert.equal(delivered.length, 1);
  const asked = JSON.stringify(api.requests.map(({ body }) => body));
  for (const text of [diff, source]) assert.ok(asked.includes(JSON.stringify(text).slice(1, -1)));
  const answered = berth.lines.filter(({ msg }) => msg === 'answered');
  assert.equal(answered.length, given.size);
}
