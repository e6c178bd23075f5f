/**
 * Prepares examples/n8n-node for a real n8n, and makes workflows that use it, and n8n's MCP Client node. n8n names the
 * types of a custom extension `CUSTOM.<name>`, so these workflows are no examples.
 */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import type { addresses } from '../support/n8n-workflows.ts';

const source = join(import.meta.dirname, '../../examples/n8n-node');
/** What the agent lets its tool ask. */
export const agentQuestion = 'Which lamp is on?';
const question = 'Write a haiku about a parcel that arrives late.';

/** Compiles the node and its credential into a folder for N8N_CUSTOM_EXTENSIONS. */
export async function buildExtension(folder: string): Promise<void> {
  await build({
    entryPoints: ['nodes/Berth/Berth.node.ts', 'credentials/BerthApi.credentials.ts'].map((path) =>
      join(source, path),
    ),
    outbase: source,
    outdir: folder,
    external: ['n8n-workflow'],
    ...{ bundle: true, platform: 'node', format: 'cjs' },
  });
  cpSync(join(source, 'icons'), join(folder, 'icons'), { recursive: true });
}

/** The credentials of the workflows, for `n8n import:credentials`. */
export function credentialsFor(berth: string, token: string, chatModel: string): object[] {
  return [
    {
      ...{ id: 'chat-model', name: 'Chat model', type: 'openAiApi' },
      data: { apiKey: 'a-key-of-the-test', url: chatModel },
    },
    { id: 'berth-api', name: 'Berth API', type: 'berthApi', data: { url: berth, token } },
    { id: 'berth-bearer', name: 'Bearer', type: 'httpBearerAuth', data: { token } },
  ];
}

interface Step {
  name: string;
  type: string;
  parameters: object;
  credentials?: object;
  typeVersion?: number;
  onError?: string;
  /** The agent to which it belongs, and as what. */
  of?: { agent: string; as: 'ai_tool' | 'ai_languageModel' };
}

const byHand = { name: 'By hand', type: 'n8n-nodes-base.manualTrigger', parameters: {} };

/** The workflows by name. */
export function nodeWorkflows(
  { berth, github }: typeof addresses,
  chatModel: string,
): Record<string, object> {
  return {
    'node-agent': workflow('node-agent', [
      byHand,
      {
        ...{ name: 'Agent', type: '@n8n/n8n-nodes-langchain.agent', typeVersion: 2 },
        parameters: { promptType: 'define', text: 'Ask which lamp is on.', options: {} },
      },
      {
        ...{ name: 'Model', type: '@n8n/n8n-nodes-langchain.lmChatOpenAi', typeVersion: 1.2 },
        parameters: {
          model: { __rl: true, mode: 'id', value: 'stand-in' },
          options: { baseURL: chatModel },
        },
        credentials: { openAiApi: { id: 'chat-model', name: 'Chat model' } },
        of: { agent: 'Agent', as: 'ai_languageModel' },
      },
      {
        ...berthStep('Tool', {
          ...{ resource: 'prompt', operation: 'ask', toolDescription: 'Asks somebody' },
          prompt: "={{ $fromAI('prompt', 'The question', 'string') }}",
        }),
        type: 'CUSTOM.berthTool',
        of: { agent: 'Agent', as: 'ai_tool' },
      },
    ]),
    'node-attachments': workflow('node-attachments', [
      byHand,
      file('picture', `${github}/files/chart.png`),
      file('table', `${github}/files/sales.csv`),
      berthStep('Ask', {
        ...{ resource: 'prompt', operation: 'ask', options: { attachments: '*' } },
        prompt: 'What is in the table?',
      }),
    ]),
    'node-ask': workflow('node-ask', [
      byHand,
      berthStep('Ask', { resource: 'prompt', operation: 'ask', prompt: question }),
      berthStep('Stream', {
        ...{ resource: 'prompt', operation: 'askStream', prompt: question },
        sessionId: '={{ $json.session_id }}',
      }),
      berthStep('Session', {
        ...{ resource: 'session', operation: 'get' },
        id: '={{ $json.session_id }}',
      }),
    ]),
    'node-error': workflow('node-error', [
      byHand,
      {
        ...berthStep('Session', {
          ...{ resource: 'session', operation: 'get' },
          id: '00000000-0000-4000-8000-000000000000',
        }),
        onError: 'continueRegularOutput',
      },
    ]),
    'node-schedule': workflow('node-schedule', [
      byHand,
      berthStep('Job', {
        ...{ resource: 'job', operation: 'start', prompt: question },
        // As the date picker of n8n writes a time.
        options: {
          notBefore: `={{ $now.plus({ days: 30 }).toFormat("yyyy-MM-dd'T'HH:mm:ss") }}`,
        },
      }),
    ]),
    'node-wait': workflow('node-wait', [
      byHand,
      berthStep('Job', { resource: 'job', operation: 'startAndWait', prompt: question }),
      set({ state: '={{ $json.state }}', answer: '={{ $json.result.result }}' }),
    ]),
    'node-wait-limit': workflow('node-wait-limit', [
      byHand,
      set({ a: '1' }),
      // The job does not begin within the limit.
      berthStep('Job', {
        ...{ resource: 'job', operation: 'startAndWait', prompt: question, limitWaitHours: 0.002 },
        options: { delay: '1h' },
      }),
      { ...set({ state: '={{ $json.state }}', job: '={{ $json.id }}' }), name: 'After the limit' },
    ]),
    'mcp-client': workflow('mcp-client', [
      byHand,
      {
        name: 'MCP',
        type: '@n8n/n8n-nodes-langchain.mcpClient',
        parameters: {
          ...{ serverTransport: 'httpStreamable', endpointUrl: `${berth}/mcp` },
          ...{ authentication: 'bearerAuth', inputMode: 'json' },
          tool: { __rl: true, mode: 'id', value: 'ask' },
          jsonInput: JSON.stringify({ prompt: question }),
        },
        credentials: { httpBearerAuth: { id: 'berth-bearer', name: 'Bearer' } },
      },
    ]),
  };
}

function berthStep(name: string, parameters: object): Step {
  const credentials = { berthApi: { id: 'berth-api', name: 'Berth API' } };
  return { name, type: 'CUSTOM.berth', parameters, credentials };
}

/** Puts a file into a binary field. */
function file(field: string, url: string): Step {
  const response = { response: { responseFormat: 'file', outputPropertyName: field } };
  return {
    ...{ name: field, type: 'n8n-nodes-base.httpRequest', typeVersion: 4.2 },
    parameters: { url, options: { response } },
  };
}

function set(values: Record<string, string>): Step {
  const assignments = Object.entries(values).map(([name, value]) => ({
    ...{ id: name, name, value, type: 'string' },
  }));
  const parameters = { assignments: { assignments }, options: {} };
  return { name: 'Set', type: 'n8n-nodes-base.set', typeVersion: 3.4, parameters };
}

/** One step after the other; what belongs to an agent is connected to the agent. */
function workflow(name: string, steps: readonly Step[]): object {
  const line = steps.filter(({ of }) => of === undefined);
  const connections: Record<string, object> = {};
  for (const [i, { name: node }] of line.entries()) {
    const before = line[i - 1];
    if (before) connections[before.name] = { main: [[{ node, type: 'main', index: 0 }]] };
  }
  for (const { name: part, of } of steps) {
    if (of) connections[part] = { [of.as]: [[{ node: of.agent, type: of.as, index: 0 }]] };
  }
  return {
    ...{ id: `berth-${name}`, name, active: false, settings: { executionOrder: 'v1' } },
    nodes: steps.map(({ of: _, ...step }, i) => ({
      ...{ typeVersion: 1, ...step, id: `step-${i}`, position: [220 * i, 0] },
    })),
    connections,
  };
}
