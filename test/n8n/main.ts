/**
 * `npm run test:n8n`: imports the workflows of examples/n8n into a real n8n and runs each by hand
 * (`n8n execute`), against `berth serve` with the real CLI, a real git behind a real gateway, and stand-ins for the
 * Messages API, GitHub and Telegram. Workflows of the test use the community node of examples/n8n-node and n8n's MCP
 * Client node. Beside it `n8n start` takes the calls of berth. Opt-in: n8n takes 2.3 GB and many minutes to
 * install, into a temporary folder, or into N8N_DIRECTORY, where it is used again. Prints what each workflow gave; fails
 * if one is not as it should be. Arguments are the names of the only workflows to run: `-- node-ask mcp-client`.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readWorkflow, workflowTexts } from '../support/n8n-workflows.ts';
import { checks } from './checks.ts';
import { buildExtension, nodeWorkflows } from './community-node.ts';
import { installN8n, N8n, version } from './n8n.ts';
import { openScene, type Scene } from './scene.ts';

/** The workflows that sleep, and go on when berth calls. */
const waiting = ['job-wait', 'nightly-maintenance-with-approval', 'node-wait', 'node-wait-limit'];
/** Of them, those that also begin when berth calls. */
const published = ['nightly-maintenance-with-approval'];
const asked = process.argv.slice(2);

const installed = installN8n();
await using cleanup = new AsyncDisposableStack();
if (process.env.N8N_DIRECTORY === undefined) {
  cleanup.defer(() => rmSync(installed, { recursive: true, force: true }));
}
const root = mkdtempSync(join(tmpdir(), 'berth-n8n-'));
cleanup.defer(() => rmSync(root, { recursive: true, force: true }));
const n8n = await N8n.make(installed, root);
const scene = await openScene(root, n8n.url, cleanup);
cleanup.defer(() => n8n.stop());
const names = await importAll(scene);
for (const name of names.filter((each) => published.includes(each))) {
  await n8n.run('publish:workflow', `--id=${idOf(name)}`);
}
if (names.some((name) => waiting.includes(name))) await n8n.start();
for (const name of names) {
  const started = performance.now();
  const before = await n8n.execute(idOf(name));
  const item = waiting.includes(name) ? await n8n.lastItemOfWaiting(idOf(name)) : before;
  const seconds = ((performance.now() - started) / 1_000).toFixed(1);
  process.stdout.write(`${name}: ${JSON.stringify(item)} in ${seconds} s\n`);
  checks[name]?.(item, scene);
}
process.stdout.write(
  `n8n ${version} ran ${names.length} workflows, and all did what they should\n`,
);

/** @returns the names of the workflows that run */
async function importAll({ places, credentials, chatModel }: Scene): Promise<string[]> {
  await buildExtension(join(root, 'extension'));
  writeFileSync(join(root, 'credentials.json'), JSON.stringify(credentials));
  await n8n.run('import:credentials', `--input=${join(root, 'credentials.json')}`);
  const examples = Object.entries(workflowTexts()).map(([name, text]): [string, object] => [
    name,
    readWorkflow(text, places),
  ]);
  const own = nodeWorkflows(places, chatModel.url);
  const workflows = [...examples, ...Object.entries(own)].filter(
    ([name]) => asked.length === 0 || asked.includes(name),
  );
  mkdirSync(join(root, 'workflows'));
  for (const [name, workflow] of workflows) {
    writeFileSync(join(root, 'workflows', `${name}.json`), JSON.stringify(workflow));
  }
  await n8n.run('import:workflow', '--separate', `--input=${join(root, 'workflows')}`);
  return workflows.map(([name]) => name);
}

function idOf(name: string): string {
  return `berth-${name}`;
}
