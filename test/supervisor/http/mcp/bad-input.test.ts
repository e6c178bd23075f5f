/** What a client may send to /mcp that is wrong or hostile. No prompt runs. */
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { startApiServer, token } from '../../../support/api-server.ts';
import { connectMcp, sendMcp } from '../../../support/mcp-client.ts';
import { memoryJobStore } from '../../../support/memory-job-store.ts';
import { until } from '../../../support/until.ts';

const request = (method: string, params: object = {}) => ({
  jsonrpc: '2.0',
  id: 1,
  method,
  params,
});

const callOf = (name: string, input: unknown) => request('tools/call', { name, arguments: input });

const initialize = (protocolVersion: unknown) =>
  request('initialize', {
    protocolVersion,
    capabilities: {},
    clientInfo: { name: 'a', version: '1' },
  });

t.test('a request without initialize is answered: there are no sessions', async (t) => {
  const { url } = await startApiServer(t);
  const { status, body } = await sendMcp(url, request('tools/list'));
  t.equal(status, 200);
  t.ok(body.result.tools.length > 0);
});

t.test('an unknown protocol version is answered with a supported version', async (t) => {
  const { url } = await startApiServer(t);
  for (const version of ['1999-01-01', '2025-03-26', 'x'.repeat(1_000)]) {
    const { body } = await sendMcp(url, initialize(version));
    t.equal(body.result.protocolVersion, '2025-11-25', version.slice(0, 20));
  }
  for (const version of [null, 7, { a: 1 }]) {
    const { body } = await sendMcp(url, initialize(version));
    t.ok(body.error.code < 0, JSON.stringify(version));
  }
  const header = { 'mcp-protocol-version': '1999-01-01' };
  t.match(await sendMcp(url, request('tools/list'), header), { status: 400, body: { error: {} } });
});

t.test('a batch is refused, and none of its messages runs', async (t) => {
  const { url, calls } = await startApiServer(t);
  const batch = [callOf('list_jobs', {}), callOf('list_jobs', {})];
  t.match(await sendMcp(url, batch), {
    status: 400,
    body: { id: null, error: { code: -32_600, message: /one|batch/ } },
  });
  t.match(await sendMcp(url, []), { status: 400 });
  t.same(calls, []);
});

t.test('a body that is not an MCP message is answered with an error', async (t) => {
  const { url } = await startApiServer(t);
  const wrong = [{}, null, 7, '""', { jsonrpc: '1.0', id: 1, method: 'tools/list' }];
  for (const body of [...wrong, { jsonrpc: '2.0', id: {}, method: 'x' }]) {
    const { status } = await sendMcp(url, body);
    t.equal(status, 400, JSON.stringify(body));
  }
  t.match(await sendMcp(url, '{"jsonrpc":'), { status: 400, body: { code: 'invalid_request' } });
  t.match(await sendMcp(url, request('no/such')), { body: { error: { code: -32_601 } } });
  const accept = { accept: 'application/json' };
  t.match(await sendMcp(url, request('tools/list'), accept), { status: 406 });
  const response = await fetch(`${url}/mcp`, { headers: { authorization: `Bearer ${token}` } });
  t.match({ status: response.status, allow: response.headers.get('allow') }, { status: 405 });
});

t.test('hostile arguments are refused by name, and start nothing', async (t) => {
  const jobStore = memoryJobStore();
  const { url } = await startApiServer(t, { jobStore });
  const hostile: [string, unknown][] = [
    ['ask', {}],
    ['ask', { prompt: '' }],
    ['ask', { prompt: 7 }],
    ['ask', { prompt: 'x', wait: '-5s' }],
    ['ask', { prompt: 'x', wait: 'for ever' }],
    ['ask', { prompt: 'x', heartbeat: '1s' }],
    ['ask', { prompt: 'x', session_id: '../../etc/passwd' }],
    ['ask', { prompt: 'x', token: 'somebody' }],
    ['ask', JSON.parse('{"prompt":"x","__proto__":{"a":1}}')],
    ['ask', []],
    ['start_job', { prompt: 'x', callback_url: 'http://169.254.169.254/' }],
    ['start_job', { prompt: 'x', idempotency_key: 'new\nline' }],
    ['start_job', { prompt: 'x', not_before: '9999-01-01T00:00:00Z' }],
    ['get_job', { job_id: "job_' OR 1=1" }],
    ['list_jobs', { limit: 1e9 }],
    ['list_jobs', { state: 'succeeded,nothing' }],
    ['constructor', {}],
    ['__proto__', {}],
  ];
  for (const [name, input] of hostile) {
    const { body } = await sendMcp(url, callOf(name, input));
    const refused = (body.error ?? body.code) !== undefined || body.result.isError === true;
    t.ok(refused, `${name} ${JSON.stringify(input)} ${JSON.stringify(body).slice(0, 200)}`);
  }
  t.equal((await jobStore.list({ limit: 10 })).jobs.length, 0);
  for (const uri of [
    'file:///etc/passwd',
    'berth://jobs/../result',
    `berth://jobs/${token}/result`,
  ]) {
    t.match(await sendMcp(url, request('resources/read', { uri })), {
      body: { error: { code: -32_602 } },
    });
  }
});

t.test('a body with too many values or too many bytes is refused', async (t) => {
  const { url } = await startApiServer(t, { maxPromptBytes: 64 * 1024 });
  const many = callOf('ask', { prompt: 'x', metadata: Array(5_000).fill(1) });
  t.match(await sendMcp(url, many), { status: 413, body: { code: 'payload_too_large' } });
  const large = callOf('ask', { prompt: 'x'.repeat(70_000) });
  t.match(await sendMcp(url, large), { status: 413, body: { code: 'payload_too_large' } });
  const withFiles = await startApiServer(t, { maxPromptBytes: 64 * 1024, maxAttachmentBytes: 2e6 });
  t.match(await sendMcp(withFiles.url, large), {
    body: { result: { isError: true, content: [{ text: /payload_too_large/ }] } },
  });
});

t.test('a web page is refused unless its origin is allowed', async (t) => {
  const { url, log } = await startApiServer(t);
  for (const origin of ['https://evil.example', 'http://localhost:3000', 'null']) {
    const { status } = await sendMcp(url, request('tools/list'), { origin });
    t.equal(status, 403, origin);
  }
  t.match(log.lines.filter(({ event }) => event === 'mcp_refused').length, 3);
  const allowed = await startApiServer(t, { origins: ['chat.example'] });
  const headers = { origin: 'https://chat.example' };
  t.equal((await sendMcp(allowed.url, request('tools/list'), headers)).status, 200);
});

t.test('a name that is not allowed as the host is refused', async (t) => {
  const { port } = await startApiServer(t, { hosts: ['berth.example'] });
  const statusFor = (host: string) => rawStatus(t, port, host);
  t.equal(await statusFor('rebound.example'), 403);
  t.equal(await statusFor('berth.example:8080'), 200);
});

t.test('a wrong token is refused', async (t) => {
  const { url } = await startApiServer(t);
  t.match(await sendMcp(url, request('tools/list'), { authorization: 'Bearer wrong' }), {
    status: 401,
    body: { code: 'unauthorized' },
  });
});

t.test('a client that goes away in the middle ends its wait', async (t) => {
  const jobStore = memoryJobStore();
  const { url, calls } = await startApiServer(t, { jobStore });
  const leaving = new AbortController();
  const client = await connectMcp(t, url, { version: '2026-07-28' });
  const asked = client.callTool(
    { name: 'ask', arguments: { prompt: 'x', wait: '5m' } },
    { signal: leaving.signal },
  );
  await until(
    'the job is there',
    async () => (await jobStore.list({ limit: 1 })).jobs.length === 1,
  );
  leaving.abort();
  await t.rejects(asked);
  await until('the call has ended', () => calls.length === 1);
});

t.test('a connection that breaks in the middle ends the wait, and the job stays', async (t) => {
  const jobStore = memoryJobStore();
  const { url, calls } = await startApiServer(t, { jobStore });
  const breaking = new AbortController();
  const asked = fetch(`${url}/mcp`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2025-06-18',
    },
    body: JSON.stringify(callOf('ask', { prompt: 'x', wait: '5m' })),
    signal: breaking.signal,
  }).then((response) => response.text());
  asked.catch(() => {});
  await until(
    'the job is there',
    async () => (await jobStore.list({ limit: 1 })).jobs.length === 1,
  );
  breaking.abort();
  await t.rejects(asked);
  await until('the call has ended', () => calls.length === 1);
  t.match((await jobStore.list({ limit: 1 })).jobs, [{ state: 'queued' }]);
});

t.test('a server that stops ends each wait with the hint', async (t) => {
  const stopping = new AbortController();
  const jobStore = memoryJobStore();
  const { url } = await startApiServer(t, { jobStore, stopping: stopping.signal });
  const asked = sendMcp(url, callOf('ask', { prompt: 'x', wait: '5m' }));
  await until(
    'the job is there',
    async () => (await jobStore.list({ limit: 1 })).jobs.length === 1,
  );
  stopping.abort();
  const { body } = await asked;
  t.match(body.result.structuredContent, { done: false, next: /get_job/ });
});

t.test('there is nothing to subscribe to, and no stream stays open', async (t) => {
  const { url } = await startApiServer(t);
  const client = await connectMcp(t, url, { version: '2026-07-28' });
  await t.rejects(client.listen({ toolsListChanged: true }));
});

/** The status of a request with another Host, which fetch cannot send. */
async function rawStatus(t: Test, port: number, host: string): Promise<number> {
  const body = JSON.stringify(request('tools/list'));
  const socket = connect(port, '127.0.0.1');
  t.teardown(() => socket.destroy());
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  socket.once('error', reject);
  socket.once('data', (data) => resolve(Number(String(data).slice(9, 12))));
  socket.write(
    `POST /mcp HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${token}\r\naccept: application/json, text/event-stream\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
  );
  return promise;
}
