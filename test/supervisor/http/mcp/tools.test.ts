/** The tools of the MCP server, called by the official client; the supervisor runs the scripted CLI. */
import { randomUUID } from 'node:crypto';
import t, { type Test } from 'tap';
import { protocolVersions } from '../../../../supervisor/http/mcp/handler.ts';
import { mcpTools } from '../../../../supervisor/metrics/mcp.ts';
import { connectMcp } from '../../../support/mcp-client.ts';
import { promptText, type RecordedRequest } from '../../../support/messages-api.ts';
import { startSupervisor } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

const server = startSupervisor(t);

/** biome-ignore lint/suspicious/noExplicitAny: answers are matched, not computed with. */
type Structured = any;

async function connect(t: Test, version?: string) {
  const { url } = await server;
  const client = await connectMcp(t, url, version === undefined ? {} : { version });
  const call = async (name: string, input: Record<string, unknown> = {}) => {
    const { structuredContent, content, ...rest } = await client.callTool({
      name,
      arguments: input,
    });
    return { it: structuredContent as Structured, content: content as Structured, ...rest };
  };
  return { client, call };
}

for (const version of protocolVersions) {
  t.test(`a client of version ${version} asks, and continues the conversation`, async (t) => {
    const { client, call } = await connect(t, version);
    t.equal(client.getNegotiatedProtocolVersion(), version);
    const { tools } = await client.listTools();
    t.same(
      tools.map(({ name }) => name),
      mcpTools,
    );
    for (const { name, inputSchema, outputSchema, description } of tools) {
      t.match(inputSchema, { type: 'object', additionalProperties: false }, name);
      t.match(
        { outputSchema, description },
        { outputSchema: { type: 'object' }, description: /./ },
      );
    }
    const first = await call('ask', { prompt: '[[say hello]]' });
    t.match(first, {
      content: [{ type: 'text', text: 'hello' }],
      it: { state: 'succeeded', done: true, result: 'hello', session_id: String, attempts: 1 },
    });
    t.equal(first.isError, undefined);
    const { session_id } = first.it;
    const second = await call('ask', { prompt: '[[say again]]', session_id });
    t.match(second.it, { result: 'again', session_id });
    const { it } = await call('list_sessions');
    t.match(it.sessions[0], { id: session_id, turns: 2 });
  });
}

t.test('progress is reported while a prompt runs', async (t) => {
  const { client } = await connect(t);
  const reports: { progress: number; message?: string | undefined }[] = [];
  const onprogress = (report: (typeof reports)[number]) => reports.push(report);
  const prompt = '[[slow 200]][[say a long answer]]';
  await client.callTool({ name: 'ask', arguments: { prompt } }, { onprogress });
  const messages = reports.map(({ message }) => message);
  t.ok(reports.length > 1, messages.join(', '));
  t.ok(
    messages.some((message) => /has \d+ characters/.test(String(message))),
    messages.join(', '),
  );
  t.ok(reports.every(({ progress }, i) => i === 0 || progress > Number(reports[i - 1]?.progress)));
});

t.test('an answer that takes longer becomes a job, and get_job waits for its end', async (t) => {
  const { client, call } = await connect(t);
  const prompt = '[[slow 100]][[say late]]';
  const early = await call('ask', { prompt, wait: '100ms' });
  t.match(early.it, { done: false, state: /queued|running/, next: /call get_job with/ });
  t.match(early.content, [{ text: /continues without the client/ }, { type: 'resource_link' }]);
  const { job_id } = early.it;
  const uri = early.content[1].uri;
  await t.rejects(client.readResource({ uri }), { message: /cannot read the resource: .*get_job/ });
  const { it: late } = await call('get_job', { job_id });
  t.match(late, { job_id, done: true, result: 'late' });
  t.match(await client.readResource({ uri }), {
    contents: [{ uri, mimeType: 'text/markdown', text: 'late' }],
  });
  const { resources } = await client.listResources();
  t.ok(resources.some((resource) => resource.uri === uri));
  const { it: list } = await call('list_jobs', { state: 'succeeded' });
  t.match(list.jobs[0], { job_id, done: true, result: undefined });
});

t.test('a client that gives up loses nothing: the job goes on', async (t) => {
  const { client, call } = await connect(t, '2026-07-28');
  const { api } = (await server).surroundings;
  const prompt = '[[say kept]]';
  const gaveUp = Promise.withResolvers<void>();
  const isKept = (request: RecordedRequest) => promptText(request) === prompt;
  api.reply(async (request) => {
    if (isKept(request)) await gaveUp.promise;
    return undefined;
  });
  const leaving = new AbortController();
  const options = { signal: leaving.signal };
  const asking = client.callTool({ name: 'ask', arguments: { prompt } }, options);
  asking.catch(() => undefined);
  await api.waitForRequest(isKept);
  leaving.abort();
  await t.rejects(asking);
  gaveUp.resolve();
  api.reply(undefined);
  const { it } = await call('list_jobs', { limit: 1 });
  const { it: job } = await call('get_job', { job_id: it.jobs[0].job_id });
  t.match(job, { state: 'succeeded', result: 'kept' });
});

t.test('a job is started, found by its key, and cancelled', async (t) => {
  const { call } = await connect(t);
  const input = {
    prompt: '[[hang stream]]',
    metadata: { run: '42' },
    idempotency_key: randomUUID(),
  };
  const { it: started } = await call('start_job', input);
  t.match(started, { done: false, metadata: { run: '42' }, next: /get_job/ });
  const { it: same } = await call('start_job', input);
  t.equal(same.job_id, started.job_id);
  await until('the job runs', async () => {
    const { it } = await call('get_job', { job_id: started.job_id, wait: '0s' });
    return it.state === 'running';
  });
  const { it: ended } = await call('cancel_job', { job_id: started.job_id });
  t.match(ended, { state: 'cancelled', done: true });
  const again = await call('start_job', { ...input, prompt: 'another' });
  t.match(again, { isError: true, content: [{ text: /idempotency_mismatch/ }] });
});

t.test('an attachment reaches the session of the prompt', async (t) => {
  const { call } = await connect(t);
  const attachments = [{ name: 'notes.txt', text: 'a note' }];
  const { it } = await call('ask', { prompt: 'Read the file', attachments });
  t.match(it, { state: 'succeeded' });
  const { api } = (await server).surroundings;
  t.ok(api.requests.some(({ body }) => JSON.stringify(body).includes('notes.txt')));
});

t.test('a refused call has the cause, the remedy and the code', async (t) => {
  const { call } = await connect(t);
  const refused = await call('ask', { prompt: 'x', session_id: randomUUID() });
  t.match(refused, {
    isError: true,
    content: [{ text: /^cannot .*session_not_found: a retry does not help/ }],
    _meta: { 'berth/problem': { code: 'session_not_found', retryable: false } },
  });
  t.match(await call('ask', { prompt: 'x', profile: 'no-such' }), {
    content: [{ text: /profile_not_found/ }],
  });
  const job_id = `job_${randomUUID()}`;
  t.match(await call('get_job', { job_id }), { content: [{ text: /job_not_found/ }] });
});

t.test('a prompt that fails is a failed call of ask, and its error is in the job', async (t) => {
  const { call } = await connect(t);
  const failed = await call('ask', { prompt: '[[status 400]]' });
  t.match(failed, { isError: true, it: { state: 'failed', error: { code: String } } });
  const { it, isError } = await call('get_job', { job_id: failed.it.job_id });
  t.match({ it, isError }, { isError: undefined, it: { state: 'failed' } });
});

t.test('profiles are listed, and calls are counted', async (t) => {
  const { call } = await connect(t);
  const { it } = await call('list_profiles');
  t.match(it.profiles, [{ name: 'default', is_default: true, tools: null }]);
  const metrics = await (await fetch(`${(await server).metricsUrl}/metrics`)).text();
  t.match(metrics, /^berth_mcp_calls_total\{tool="list_profiles",outcome="ok"\} [1-9]/m);
  t.match(metrics, /^berth_mcp_calls_total\{tool="cancel_job",outcome="failed"\} 0$/m);
});
