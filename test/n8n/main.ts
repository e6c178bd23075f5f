/**
 * `npm run test:n8n`: imports the workflows of examples/n8n into a real n8n and runs each by hand
 * (`n8n execute`), against `berth serve` with the real CLI and stand-ins for the Messages API and
 * GitHub. Opt-in: n8n takes 2.3 GB and many minutes to install, into a temporary folder, or into
 * N8N_DIRECTORY, where it is used again. Prints what each workflow gave; fails if one is not as it
 * should be.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { exampleOf } from '../support/messages-api/default-answer.ts';
import { type MessagesApi, startMessagesApi } from '../support/messages-api.ts';
import { readWorkflow, workflowTexts } from '../support/n8n-workflows.ts';
import { type Program, startProgram } from '../support/programs.ts';
import { type CommentedGitHub, diff, githubToken, source, startGitHub } from './github.ts';

const version = '2.8.4';
const run = promisify(execFile);

interface Scene {
  n8n: (...args: string[]) => Promise<string>;
  api: MessagesApi;
  github: CommentedGitHub;
  berth: Program;
}

const installed = install();
const root = mkdtempSync(join(tmpdir(), 'berth-n8n-'));
const scene = await open();
try {
  const given = new Map<string, unknown>();
  for (const name of Object.keys(workflowTexts())) {
    const started = performance.now();
    const output = await scene.n8n('execute', `--id=berth-${name}`, '--rawOutput');
    given.set(name, lastItem(output));
    const seconds = ((performance.now() - started) / 1_000).toFixed(1);
    process.stdout.write(`${name}: ${JSON.stringify(given.get(name))} in ${seconds} s\n`);
  }
  check(given, scene);
  process.stdout.write(
    `n8n ${version} ran ${given.size} workflows, and all did what they should\n`,
  );
} finally {
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
      BERTH_CLAUDE_PATH: join(import.meta.dirname, '../../node_modules/.bin/claude'),
      ANTHROPIC_BASE_URL: api.url,
      ANTHROPIC_API_KEY: 'sk-ant-test-0123456789',
    },
  });
  const { address } = await berth.logged('listening');
  const n8n = client();
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
  return { n8n, api, github, berth };
}

function client(): Scene['n8n'] {
  const env = {
    PATH: process.env.PATH,
    HOME: join(root, 'n8n'),
    N8N_USER_FOLDER: join(root, 'n8n'),
    N8N_ENCRYPTION_KEY: 'a key of the test',
    N8N_DIAGNOSTICS_ENABLED: 'false',
    N8N_VERSION_NOTIFICATIONS_ENABLED: 'false',
    N8N_TEMPLATES_ENABLED: 'false',
    N8N_COMMUNITY_PACKAGES_ENABLED: 'false',
    N8N_RUNNERS_BROKER_PORT: '15679',
  };
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
  const asked = JSON.stringify(api.requests.map(({ body }) => body));
  for (const text of [diff, source]) assert.ok(asked.includes(JSON.stringify(text).slice(1, -1)));
  const answered = berth.lines.filter(({ msg }) => msg === 'answered');
  assert.equal(answered.length, given.size);
}
