import { createHash } from 'node:crypto';
import { Ajv2020 } from 'ajv/dist/2020.js';
import t from 'tap';
import { errorTable } from '../../../shared/errors.ts';
import { apiProblems } from '../../../supervisor/http/problem-codes.ts';
import { startApiServer } from '../../support/api-server.ts';
import { bashAllowed } from '../../support/claude.ts';
import { sendMcp } from '../../support/mcp-client.ts';
import { collect, readEvents } from '../../support/read-events.ts';
import { type RunningSupervisor, startSupervisor } from '../../support/supervisor.ts';

interface Operation {
  security?: unknown;
  requestBody?: { content: Record<string, { examples?: Record<string, { value: unknown }> }> };
  responses: Record<string, { description: string; content: Record<string, unknown> }>;
}

interface Description {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object>; securitySchemes: object };
  security: object[];
}

async function describedBy(url: string): Promise<Description> {
  return (await (await fetch(`${url}/openapi.json`)).json()) as Description;
}

/** The APIs for other clients have errors in their own shapes. */
const typesOf = (status: number, path = ''): string[] => {
  if (status < 300) return ['application/json', 'text/event-stream'];
  return /^\/v1\/(messages|chat|responses|models)/.test(path)
    ? ['application/json']
    : ['application/problem+json'];
};

/** Validates values against the parts of a description, by the path to their schema. */
function validator(description: Description) {
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  ajv.addSchema(description, 'api');
  const encode = (part: string): string => part.replaceAll('~', '~0').replaceAll('/', '~1');
  return (path: string[], value: unknown): string => {
    const validate = ajv.getSchema(`api#/${path.map(encode).map(encodeURIComponent).join('/')}`);
    if (!validate) return `there is no ${path.join(' ')}`;
    return validate(value) ? '' : ajv.errorsText(validate.errors);
  };
}

t.test('every code that a request can meet is described, with its status', async (t) => {
  const { url } = await startApiServer(t);
  const { paths, components } = await describedBy(url);
  const operations = Object.values(paths).flatMap((item) => Object.values(item));
  const ofAnyRequest = ['route_not_found', 'method_not_allowed'];
  for (const code of apiProblems.filter((code) => !ofAnyRequest.includes(code))) {
    const { status, retryable } = errorTable[code];
    const sentence = `\`${code}\`${retryable ? ' (retryable)' : ''}: `;
    t.ok(
      operations.some(({ responses }) => responses[status]?.description.includes(sentence)),
      `${code} ${status}`,
    );
  }
  const described = JSON.stringify(operations);
  for (const code of ['config_invalid', 'login_failed', 'write_back_failed', 'cli_undelivered']) {
    t.notOk(described.includes(`\`${code}\``), `only programs end with ${code}`);
  }
  t.match(components.securitySchemes, { token: { type: 'http', scheme: 'bearer' } });
  for (const [path, item] of Object.entries(paths)) {
    for (const { responses } of Object.values(item)) {
      for (const [status, { content }] of Object.entries(responses)) {
        if (status === '204') continue;
        const [type = ''] = Object.keys(content);
        t.ok(typesOf(Number(status), path).includes(type), `${path} ${status} ${type}`);
      }
    }
  }
});

t.test('the examples are right by their schemas', async (t) => {
  const { url } = await startApiServer(t);
  const description = await describedBy(url);
  const errors = validator(description);
  for (const route of ['/v1/prompts', '/v1/jobs', ...forClients]) {
    const { requestBody } = description.paths[route]?.post ?? {};
    const examples = Object.values(requestBody?.content['application/json']?.examples ?? {});
    t.ok(examples.length > 0);
    const path = ['paths', route, 'post', 'requestBody', 'content', 'application/json'];
    for (const { value } of examples) t.equal(errors([...path, 'schema'], value), '');
    t.not(errors([...path, 'schema'], { promt: 'x' }), '', 'what is wrong is told');
  }
});

const forClients = ['/v1/messages', '/v1/chat/completions', '/v1/responses'];

/** Calls of jobs, which nothing runs here. */
const jobCalls: [method: string, path: string, body: unknown, status: number][] = [
  ['POST', '/v1/jobs', { prompt: 'x', metadata: { a: 'b' }, expires_in: '1h' }, 202],
  ['POST', '/v1/jobs', { prompt: 'x', delay: 'soon' }, 400],
  ['POST', '/v1/jobs', { prompt: 'x', session_id: '11111111-1111-4111-8111-111111111111' }, 404],
  ['GET', '/v1/jobs', undefined, 200],
  ['GET', '/v1/jobs?limit=0', undefined, 400],
  ['GET', '/v1/jobs/{id}?wait=10ms', undefined, 200],
  ['POST', '/v1/jobs/{id}/retry', undefined, 409],
  ['DELETE', '/v1/jobs/{id}', undefined, 409],
  ['POST', '/v1/jobs/{id}/cancel', undefined, 200],
  ['POST', '/v1/jobs/{id}/retry', undefined, 409],
  ['GET', '/v1/jobs/{id}/events?after=x', undefined, 400],
  ['DELETE', '/v1/jobs/{id}', undefined, 204],
  ['GET', '/v1/jobs/{id}', undefined, 404],
];

/** Calls about approvals; nothing asks here. */
const approvalCalls: [method: string, path: string, body: unknown, status: number][] = [
  ['GET', '/v1/approvals', undefined, 200],
  ['GET', '/v1/approvals/{id}', undefined, 404],
  ['POST', '/v1/approvals/{id}', { decision: 'allow' }, 404],
  ['POST', '/v1/approvals/{id}', { decision: 'perhaps' }, 400],
];

const [model, messages] = ['berth', [{ role: 'user', content: 'x' }]];

/** Calls of the APIs for other clients. */
const clientCalls: [method: string, path: string, body: unknown, status: number][] = [
  ['POST', '/v1/messages', { model, messages, max_tokens: 9 }, 200],
  ['POST', '/v1/messages', { model, messages }, 400],
  ['POST', '/v1/messages', { model: 'other', messages, max_tokens: 9 }, 404],
  ['POST', '/v1/messages/count_tokens', { model, messages }, 200],
  ['POST', '/v1/chat/completions', { model, messages }, 200],
  ['POST', '/v1/chat/completions', { model, messages, n: 2 }, 400],
  ['POST', '/v1/responses', { model, input: 'x' }, 200],
  ['POST', '/v1/responses', { model, input: [] }, 400],
  ['GET', '/v1/models', undefined, 200],
  ['GET', '/v1/models/{id}', undefined, 404],
];

t.test('the answers of the other routes match the OpenAPI description', async (t) => {
  const { url } = await startApiServer(t);
  const errors = validator(await describedBy(url));
  const call = async (method: string, path: string, body: unknown) => {
    const response = await fetch(url + path, {
      method,
      headers: {
        authorization: 'Bearer a-token-of-the-tests',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? null : JSON.stringify(body),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
  };
  const first = await call('POST', '/v1/jobs', { prompt: 'x' });
  for (const [method, path, body, status] of [...jobCalls, ...clientCalls, ...approvalCalls]) {
    const answer = await call(method, path.replace('{id}', first.body.id), body);
    t.equal(answer.status, status, `${method} ${path}`);
    if (status === 204) continue;
    const [route = ''] = path.split('?');
    const [type = ''] = typesOf(status, route);
    const at = ['paths', route, method.toLowerCase(), 'responses', `${status}`, 'content', type];
    t.equal(errors([...at, 'schema'], answer.body), '', `${method} ${path} ${status}`);
  }
});

/** Calls that meet each route's answers; what is not described makes the test fail. */
const calls: [method: string, path: string, body: unknown, status: number][] = [
  ['POST', '/v1/prompts', { prompt: '[[say hello]]', metadata: { a: 'b' } }, 200],
  ['POST', '/v1/prompts', { prompt: '[[tool Bash {"command":"true"}]]' }, 200],
  ['POST', '/v1/prompts', { prompt: '' }, 400],
  ['POST', '/v1/prompts', { prompt: 'x', session_id: '11111111-1111-4111-8111-111111111111' }, 404],
  ['POST', '/v1/prompts', { prompt: 'x'.repeat(2_000_000) }, 413],
  ['POST', '/v1/prompts', { prompt: '[[status 401]]' }, 503],
  ['POST', '/v1/prompts', { prompt: '[[hang stream]]', timeout: '1s' }, 504],
  ['GET', '/v1/status', undefined, 200],
  ['GET', '/v1/sessions', undefined, 200],
  ['GET', '/v1/sessions?limit=0', undefined, 400],
  ['GET', '/v1/sessions/{id}', undefined, 200],
  ['POST', '/v1/sessions/{id}/interrupt', undefined, 200],
  ['DELETE', '/v1/sessions/{id}', undefined, 204],
  ['GET', '/v1/sessions/{id}', undefined, 404],
  ['DELETE', '/v1/sessions/{id}', undefined, 404],
  ['POST', '/v1/sessions/{id}/interrupt', undefined, 404],
  ['POST', '/v1/pause', { reason: 'a test' }, 200],
  ['POST', '/v1/pause', { reasn: 'a test' }, 400],
  ['POST', '/v1/prompts', { prompt: 'x' }, 503],
  ['GET', '/v1/status', undefined, 200],
  ['POST', '/v1/resume', undefined, 200],
];

t.test('the answers of the routes match the OpenAPI description', async (t) => {
  const running = await startSupervisor(t, {
    config: { 'settings.json': bashAllowed },
    environment: { CLAUDE_CODE_MAX_RETRIES: '3' },
  });
  const description = await describedBy(running.url);
  const errors = validator(description);
  const { body: first } = await running.prompt('[[say first]]');
  for (const [method, path, body, status] of calls) {
    const url = path.replace('{id}', first.session_id);
    const answer = await running.call(method, url, body === undefined ? {} : { body });
    t.equal(answer.status, status, `${method} ${path}`);
    if (status === 204) continue;
    const type = status === 200 ? 'application/json' : 'application/problem+json';
    const [route = ''] = path.split('?');
    const at = ['paths', route, method.toLowerCase(), 'responses', `${status}`, 'content', type];
    t.equal(errors([...at, 'schema'], answer.body), '', `${method} ${path} ${status}`);
  }
  const list = { jsonrpc: '2.0', id: 1, method: 'tools/list' };
  const { body: answer } = await sendMcp(running.url, list);
  const ofMcp = ['paths', '/mcp', 'post', 'responses', '200', 'content', 'application/json'];
  t.equal(errors([...ofMcp, 'schema'], answer), '', 'POST /mcp');
  const met = new Set(
    [...calls, ...jobCalls, ...clientCalls, ...approvalCalls, ['POST', '/mcp'] as const].map(
      ([method, path]) => `${method} ${path.split('?')[0]}`,
    ),
  );
  for (const [path, item] of Object.entries(description.paths)) {
    for (const method of Object.keys(item)) {
      t.ok(met.has(`${method.toUpperCase()} ${path}`), `${method} ${path} is called here`);
    }
  }
  await events(t, running, errors);
});

async function events(
  t: { equal: (a: unknown, b: unknown, what: string) => void },
  { url, call }: RunningSupervisor,
  errors: (path: string[], value: unknown) => string,
): Promise<void> {
  const at = ['paths', '/v1/prompts', 'post', 'responses', '200', 'content', 'text/event-stream'];
  const seen = new Set<string>();
  for (const prompt of [
    '[[tool Bash {"command":"true"}]]',
    '[[status 529 x1 #described]] [[say x]]',
    '[[status 401]]',
  ]) {
    const response = await fetch(`${url}/v1/prompts`, {
      method: 'POST',
      headers: {
        authorization: 'Bearer a-token-of-the-tests',
        'content-type': 'application/json',
        accept: 'text/event-stream',
      },
      body: JSON.stringify({ prompt }),
    });
    for (const event of await collect(readEvents(response))) {
      seen.add(event.event);
      t.equal(errors([...at, 'schema'], event), '', event.event);
    }
  }
  const all = ['error', 'queued', 'result', 'retry', 'session', 'text', 'tool'];
  t.equal(all.filter((name) => !seen.has(name)).join(), '', 'all events were met');
  t.equal((await call('GET', '/v1/status')).status, 200, 'it still serves');
}

t.test('/docs is one page that needs nothing else, under the strictest policy', async (t) => {
  const { url } = await startApiServer(t);
  const response = await fetch(`${url}/docs`);
  t.equal(response.status, 200, 'without a token');
  t.equal(response.headers.get('content-type'), 'text/html; charset=utf-8');
  const page = await response.text();
  const policy = response.headers.get('content-security-policy') ?? '';
  t.match(policy, /^default-src 'none'; style-src 'sha256-[^']+'; base-uri 'none'; form-action/);
  t.notMatch(policy, 'unsafe');
  const [, style = ''] = /<style>(.*?)<\/style>/s.exec(page) ?? [];
  t.match(policy, createHash('sha256').update(style).digest('base64'), 'its style is let in');
  t.notMatch(page, /<script|<link|<img|<iframe|\son\w+=|\sstyle=|https?:\/\//i);
  const references = [...page.matchAll(/(?:href|src)="([^"]*)"/g)].map(([, to = '']) => to);
  for (const to of new Set(references)) {
    if (to.startsWith('#')) t.match(page, `id="${to.slice(1)}"`);
    else t.equal((await fetch(new URL(to, `${url}/docs`))).status, 200, to);
  }
  for (const part of ['/v1/prompts', '/v1/pause', 'queue_full', 'session_id', 'cost_usd']) {
    t.match(page, part);
  }
  const open = page.match(/<(table|section|details|ul|pre)\b/g)?.length;
  t.equal(open, page.match(/<\/(table|section|details|ul|pre)>/g)?.length, 'every part is closed');
});

t.test('the root address redirects to /docs', async (t) => {
  const { url } = await startApiServer(t);
  const response = await fetch(`${url}/`);
  t.equal(response.url, `${url}/docs`, 'without a token');
  t.equal(response.status, 200);
  const first = await fetch(`${url}/`, { redirect: 'manual' });
  t.equal(first.headers.get('location'), 'docs', 'below a path of a proxy too');
  t.equal((await fetch(`${url}/`, { method: 'POST' })).status, 401);
});

t.test('every answer has headers that stop a browser from using the content', async (t) => {
  const { url } = await startApiServer(t);
  const authorization = 'Bearer a-token-of-the-tests';
  const stream = {
    method: 'POST',
    headers: { authorization, accept: 'text/event-stream', 'content-type': 'application/json' },
    body: '{"prompt":"x"}',
  };
  const all: [string, RequestInit][] = [
    ['/', { redirect: 'manual' }],
    ['/docs', {}],
    ['/openapi.json', {}],
    ['/v1/status', {}],
    ['/nowhere', { headers: { authorization } }],
    ['/%zz', { headers: { authorization } }],
    ['/v1/prompts', stream],
  ];
  for (const [path, request] of all) {
    const { headers } = await fetch(url + path, request);
    t.match(headers.get('cache-control'), 'no-store', path);
    t.match(headers.get('content-security-policy'), /^default-src 'none'; /, path);
    t.equal(headers.get('x-content-type-options'), 'nosniff', path);
    t.equal(headers.get('referrer-policy'), 'no-referrer', path);
    t.equal(headers.get('cross-origin-resource-policy'), 'same-origin', path);
    t.equal(headers.get('access-control-allow-origin'), null, path);
  }
  const preflight = { method: 'OPTIONS', headers: { origin: 'https://evil.example' } };
  t.equal((await fetch(`${url}/v1/prompts`, preflight)).status, 401);
});
