/** The workflows of examples/n8n as files: what they send, and that nothing secret is in them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import t from 'tap';
import { readOverrides } from '../supervisor/profiles/overrides.ts';
import { readProfiles } from '../supervisor/profiles/read.ts';
import {
  addresses,
  readWorkflow,
  type WorkflowNode,
  workflowTexts,
} from './support/n8n-workflows.ts';

const description = JSON.parse(
  readFileSync(join(import.meta.dirname, '../docs/openapi.json'), 'utf8'),
);
const texts = workflowTexts();

/** What an n8n expression gives, with `json` as the item; what other nodes gave is made up. */
function evaluate(expression: string, json: unknown): unknown {
  const code = /^=\{\{([\s\S]*)\}\}$/.exec(expression)?.[1];
  if (code === undefined) throw new Error(`no expression: ${expression}`);
  const settings = { owner: 'o', repository: 'r', path: 'p', pull_request: 1, issue: 1 };
  const other = () => ({ first: () => ({ json: settings }) });
  const execution = { id: '7', resumeUrl: 'http://n8n.n8n.svc:5678/webhook-waiting/7?signature=a' };
  return new Function('$json', '$execution', '$', `return (${code})`)(json, execution, other);
}

const isRequest = ({ type }: WorkflowNode) => type === 'n8n-nodes-base.httpRequest';
/** A URL with an expression begins with `=`. */
const toBerth = ({ parameters }: WorkflowNode) =>
  parameters.url?.replace(/^=/, '').startsWith(addresses.berth);
/** The path as the description of the API has it. */
const pathOf = (url: string) =>
  url
    .replace(/^=/, '')
    .slice(addresses.berth.length)
    .replace(/\?.*$/, '')
    .replace(/\{\{.*?\}\}/, '{id}');

t.test('there is one for each job that the documentation promises', (t) => {
  const jobs = [
    ...['code-review', 'documentation', 'issue-fix', 'job-poll', 'job-wait'],
    ...['maintenance-report', 'nightly-maintenance-with-approval', 'pull-request-review'],
    'structured-output',
  ];
  t.same(Object.keys(texts), jobs);
  const document = readFileSync(join(import.meta.dirname, '../docs/n8n.md'), 'utf8');
  for (const job of jobs) t.match(document, `${job}.json`);
  t.end();
});

/** Those of the component, with which a token that names no profile gets its default. */
const component = 'manifests/components/profiles/profiles.yaml';
const profiles = readProfiles(
  readFileSync(join(import.meta.dirname, '..', component), 'utf8'),
  component,
  { warmWorkers: 0, maxWorkers: 2 },
);

for (const [name, text] of Object.entries(texts)) {
  const { id, active, nodes, connections } = readWorkflow(text);

  t.test(`${name}: the API accepts each request that the workflow sends`, (t) => {
    const requests = nodes.filter(isRequest).filter(toBerth);
    t.ok(requests.some(({ parameters }) => parameters.method === 'POST'));
    for (const { parameters } of requests) {
      const { url = '', method = '', jsonBody = '', headerParameters, options } = parameters;
      const operation = description.paths[pathOf(url)]?.[method.toLowerCase()];
      t.ok(operation, `${method} ${url}`);
      if (method !== 'POST') continue;
      const schema = operation.requestBody.content['application/json'].schema;
      const validate = new Ajv2020({ strict: false, validateFormats: false }).compile(schema);
      const body = evaluate(jsonBody, { text: 'a', data: 'b', prompt: 'c' }) as Record<
        string,
        unknown
      >;
      t.ok(validate(body), JSON.stringify(validate.errors));
      t.notOk(validate({ ...body, promt: '' }), 'a field that it does not know would be found');
      t.same(headerParameters?.parameters, [
        { name: 'Idempotency-Key', value: '={{ $execution.id }}:{{ $itemIndex }}' },
      ]);
      if (body.output_schema) new Ajv2020().compile(body.output_schema);
      const given = profiles.profiles.get(profiles.defaultProfile);
      if (given && body.profile === undefined) readOverrides(body, given, 300_000);
      // A job is answered at once.
      if (pathOf(url) === '/v1/jobs') continue;
      const seconds = Number(/^(\d+)s$/.exec(String(body.timeout))?.[1]);
      t.ok(seconds * 1_000 < (options?.timeout ?? 0), 'berth gives up first, with a reason');
    }
    t.end();
  });

  t.test(`${name}: it has no secret, and is whole`, (t) => {
    t.equal(id, `berth-${name}`);
    t.equal(active, false);
    for (const node of nodes.filter(isRequest)) {
      const { url = '', authentication } = node.parameters;
      const credential = toBerth(node) ? 'berth' : 'GitHub for n8n';
      t.equal(authentication, 'genericCredentialType');
      t.equal(node.credentials?.httpHeaderAuth.name, credential);
      t.ok(toBerth(node) || url.startsWith(`=${addresses.github}/repos/`), url);
    }
    t.notMatch(
      text,
      /authorization|bearer|gh[a-z]_|github_pat_|sk-ant|berth_[\w-]{16}|[0-9a-f]{32}/i,
    );
    const names = nodes.map(({ name }) => name);
    const reached = Object.values(connections).flatMap(({ main }) => main.flat());
    for (const { node } of reached) t.ok(names.includes(node), node);
    for (const from of Object.keys(connections)) t.ok(names.includes(from), from);
    for (const { name, type } of nodes) {
      const isReached = reached.some(({ node }) => node === name);
      t.equal(isReached, !/(Trigger|\.webhook)$/.test(type), `${name} is reached unless it begins`);
    }
    t.end();
  });
}
