/**
 * `npm run test:n8n-models`: runs the model nodes of n8n for Anthropic and OpenAI against `berth serve` with the real CLI
 * and a stand-in for the Messages API. Opt-in: it needs n8n in N8N_DIRECTORY, where `npm run test:n8n` installs n8n. It
 * prints the answer of each node, and fails if an answer is wrong.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { startMessagesApi } from '../support/messages-api.ts';
import { startProgram } from '../support/programs.ts';

const run = promisify(execFile);
const langchain = '@n8n/n8n-nodes-langchain';

interface ModelNode {
  name: string;
  type: string;
  version: number;
  credentials: 'anthropicApi' | 'openAiApi';
}

const nodes: readonly ModelNode[] = [
  {
    name: 'Anthropic Chat Model',
    type: 'lmChatAnthropic',
    version: 1.3,
    credentials: 'anthropicApi',
  },
  { name: 'OpenAI Chat Model', type: 'lmChatOpenAi', version: 1.2, credentials: 'openAiApi' },
  {
    name: 'OpenAI Chat Model with responses',
    type: 'lmChatOpenAi',
    version: 1.3,
    credentials: 'openAiApi',
  },
];

const directory = process.env.N8N_DIRECTORY;
if (directory === undefined) throw new Error('set N8N_DIRECTORY to the folder that has n8n');
const root = mkdtempSync(join(tmpdir(), 'berth-n8n-models-'));
const api = await startMessagesApi();
const token = makeToken();
for (const name of ['volume', 'home', 'n8n']) mkdirSync(join(root, name));
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
try {
  const { address } = await berth.logged('listening');
  writeFileSync(join(root, 'credentials.json'), JSON.stringify(credentialsFor(String(address))));
  writeFileSync(join(root, 'workflow.json'), JSON.stringify(workflow()));
  await n8n('import:credentials', `--input=${join(root, 'credentials.json')}`);
  await n8n('import:workflow', `--input=${join(root, 'workflow.json')}`);
  const output = await n8n('execute', '--id=berth-models', '--rawOutput');
  const { data } = JSON.parse(output.slice(output.search(/^\{/m)));
  for (const [index, { name }] of nodes.entries()) {
    const [item] = data.resultData.runData[chainOf(index)][0].data.main[0];
    process.stdout.write(`${name}: ${JSON.stringify(item.json)}\n`);
    assert.match(JSON.stringify(item.json), new RegExp(`answer ${index}`));
  }
} finally {
  berth.kill('SIGTERM');
  await berth.ended;
  await api.close();
  rmSync(root, { recursive: true, force: true });
}

function chainOf(index: number): string {
  return `Chain ${index}`;
}

function credentialsFor(url: string): object[] {
  return [
    {
      ...{ id: 'berth-anthropic', name: 'berth-anthropic', type: 'anthropicApi' },
      data: { apiKey: token, url },
    },
    {
      ...{ id: 'berth-openai', name: 'berth-openai', type: 'openAiApi' },
      data: { apiKey: token, url: `${url}/v1` },
    },
  ];
}

/** A trigger, and a chain for each model node, one after the other. */
function workflow(): object {
  const trigger = 'Start';
  const chains = nodes.map((_, index) => ({
    id: chainOf(index),
    name: chainOf(index),
    type: `${langchain}.chainLlm`,
    typeVersion: 1.7,
    position: [index, 0],
    parameters: { promptType: 'define', text: `[[say answer ${index}]]` },
  }));
  const models = nodes.map(({ name, type, version, credentials }, index) => {
    const id = credentials === 'anthropicApi' ? 'berth-anthropic' : 'berth-openai';
    return {
      id: name,
      name,
      type: `${langchain}.${type}`,
      typeVersion: version,
      position: [index, 1],
      parameters: { model: { __rl: true, mode: 'id', value: 'berth' }, options: {} },
      credentials: { [credentials]: { id, name: id } },
    };
  });
  const to = (node: string, type: string) => ({ [type]: [[{ node, type, index: 0 }]] });
  return {
    id: 'berth-models',
    name: 'berth-models',
    active: false,
    settings: {},
    nodes: [
      {
        ...{ id: trigger, name: trigger, type: 'n8n-nodes-base.manualTrigger' },
        ...{ typeVersion: 1, position: [0, -1], parameters: {} },
      },
      ...chains,
      ...models,
    ],
    connections: {
      [trigger]: to(chainOf(0), 'main'),
      ...Object.fromEntries(
        nodes.slice(1).map((_, index) => [chainOf(index), to(chainOf(index + 1), 'main')]),
      ),
      ...Object.fromEntries(
        nodes.map(({ name }, index) => [name, to(chainOf(index), 'ai_languageModel')]),
      ),
    },
  };
}

async function n8n(...args: string[]): Promise<string> {
  const env = {
    PATH: process.env.PATH,
    HOME: join(root, 'n8n'),
    N8N_USER_FOLDER: join(root, 'n8n'),
    N8N_ENCRYPTION_KEY: 'a key of the test',
    N8N_DIAGNOSTICS_ENABLED: 'false',
    N8N_VERSION_NOTIFICATIONS_ENABLED: 'false',
    N8N_TEMPLATES_ENABLED: 'false',
    N8N_COMMUNITY_PACKAGES_ENABLED: 'false',
    N8N_RUNNERS_BROKER_PORT: '15689',
    N8N_LISTEN_ADDRESS: '127.0.0.1',
  };
  const file = join(String(directory), 'node_modules/n8n/bin/n8n');
  const options = { env, timeout: 300_000, maxBuffer: 2 ** 26 };
  return (await run(process.execPath, [file, ...args], options)).stdout;
}
