/**
 * Prepares examples/n8n-node for a real n8n, and makes workflows that use it, and n8n's MCP Client node. n8n names the
 * types of a custom extension `CUSTOM.<name>`, so these workflows are no examples.
 */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const source = join(import.meta.dirname, '../../examples/n8n-node');
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
export function credentialsFor(berth: string, token: string): object[] {
  return [
    { id: 'berth-api', name: 'Berth API', type: 'berthApi', data: { url: berth, token } },
    { id: 'berth-bearer', name: 'Bearer', type: 'httpBearerAuth', data: { token } },
  ];
}

interface Step {
  name: string;
  type: string;
  parameters: object;
  credentials?: object;
}

const byHand = { name: 'By hand', type: 'n8n-nodes-base.manualTrigger', parameters: {} };

/** The workflows by name. */
export function nodeWorkflows(berth: string): Record<string, object> {
  return {
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
    'node-wait': workflow('node-wait', [
      byHand,
      berthStep('Job', { resource: 'job', operation: 'startAndWait', prompt: question }),
      set({ state: '={{ $json.state }}', answer: '={{ $json.result.result }}' }),
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

function set(values: Record<string, string>): Step {
  const assignments = Object.entries(values).map(([name, value]) => ({
    ...{ id: name, name, value, type: 'string' },
  }));
  const parameters = { assignments: { assignments }, options: {} };
  return { name: 'Set', type: 'n8n-nodes-base.set', parameters };
}

/** One step after the other. */
function workflow(name: string, steps: readonly Step[]): object {
  const following = steps
    .slice(1)
    .map(({ name: node }, i) => [steps[i]?.name, { main: [[{ node, type: 'main', index: 0 }]] }]);
  return {
    ...{ id: `berth-${name}`, name, active: false, settings: { executionOrder: 'v1' } },
    nodes: steps.map((step, i) => ({
      ...step,
      ...{ id: `step-${i}`, typeVersion: step.type.endsWith('.set') ? 3.4 : 1 },
      position: [220 * i, 0],
    })),
    connections: Object.fromEntries(following),
  };
}
