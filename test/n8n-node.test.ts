/** The n8n node of examples/n8n-node against a running berth with the scripted CLI. */
import { join } from 'node:path';
import t from 'tap';
import { makeWebhookSecret } from '../supervisor/jobs/callbacks/webhook-secrets.ts';
import { promptText } from './support/messages-api.ts';
import { type Execution, executionOf, loadNode, runNode } from './support/n8n-node.ts';
import { startSupervisor, token } from './support/supervisor.ts';
import { until } from './support/until.ts';
import { openReceiver } from './support/webhook-receiver.ts';

const server = startSupervisor(t, {
  config: { 'webhook-secret': makeWebhookSecret() },
  settings: {
    BERTH_CALLBACK_HOSTS: '127.0.0.0/8',
    BERTH_WEBHOOK_SECRET_FILE: join(t.testdirName, 'config/webhook-secret'),
  },
});
const loaded = loadNode();

/** Fields of an error of n8n. */
const like = (fields: object) => fields as Error;

async function execute(
  resource: string,
  operation: string,
  parameters: Record<string, unknown> = {},
  rest: Partial<Execution> = {},
  bearer = token,
) {
  const { node } = await loaded;
  const { url } = await server;
  const given = { parameters: { resource, operation, ...parameters }, ...rest };
  const execution = executionOf(node, { url, token: bearer }, given);
  const [output = []] = await runNode(node, execution.context);
  return { ...execution, output, json: output[0]?.json };
}

t.test('ask returns the answer, and continues the session of an earlier answer', async (t) => {
  const { json: first, output } = await execute('prompt', 'ask', { prompt: '[[say hello]]' });
  t.match(first, { result: 'hello', session_id: String, is_error: false });
  t.match(output[0]?.pairedItem, { item: 0 });
  const sessionId = first.session_id;
  const { json } = await execute('prompt', 'ask', { prompt: '[[say again]]', sessionId });
  t.match(json, { result: 'again', session_id: sessionId });
});

t.test(
  'a retry of the same execution gets the first answer, another prompt does not',
  async (t) => {
    const { json: first } = await execute('prompt', 'ask', { prompt: '[[say once]]' });
    const { json: retried } = await execute('prompt', 'ask', { prompt: '[[say once]]' });
    t.equal(retried.id, first.id);
    const { json: other } = await execute('prompt', 'ask', { prompt: '[[say twice]]' });
    t.not(other.id, first.id);
  },
);

t.test('each item is a prompt with its own answer', async (t) => {
  const items = [{ json: { n: 1 } }, { json: { n: 2 } }];
  const { output } = await execute('prompt', 'ask', { prompt: '[[say both]]' }, { items });
  t.same(
    output.map(({ pairedItem }) => pairedItem),
    [{ item: 0 }, { item: 1 }],
  );
  t.not(output[0]?.json.id, output[1]?.json.id);
});

t.test('the text of a stream is passed on while it is written', async (t) => {
  const prompt = '[[slow 10]][[say a text in some pieces]]';
  const { json, chunks } = await execute('prompt', 'askStream', { prompt }, { streaming: true });
  t.match(json, { text: 'a text in some pieces', result: 'a text in some pieces' });
  const pieces = chunks.filter((chunk) => (chunk as string[])[0] === 'item');
  t.ok(pieces.length > 1);
  t.equal(pieces.map((piece) => (piece as string[])[2]).join(''), 'a text in some pieces');
  await t.rejects(execute('prompt', 'askStream', { prompt: '[[drop]]' }), like({ httpCode: /^5/ }));
  await t.rejects(execute('prompt', 'askStream', { prompt: 'x', sessionId: 'no' }), {
    message: /session_id/,
  });
});

t.test(
  'the texts of a stream before and after a tool have a blank line between them',
  async (t) => {
    const { surroundings } = await server;
    surroundings.api.reply((request) => {
      const { messages = [] } = request.body ?? {};
      if (!JSON.stringify(messages).includes('look, then answer')) return undefined;
      const isLast = JSON.stringify(messages.at(-1)).includes('tool_result');
      const tool = { name: 'Bash', input: { command: 'true' } };
      return isLast ? { text: 'Done.' } : { text: 'Let me look.', tool };
    });
    t.teardown(() => surroundings.api.reply(undefined));
    const { json } = await execute('prompt', 'askStream', { prompt: 'look, then answer' });
    t.equal(json.text, 'Let me look.\n\nDone.');
  },
);

t.test('a stream with the key of an earlier one gets its answer', async (t) => {
  const given = { prompt: '[[say streamed]]', options: { idempotencyKey: 'a-key-of-my-own' } };
  const { json: first } = await execute('prompt', 'askStream', given);
  const { json: again, chunks } = await execute('prompt', 'askStream', given, { streaming: true });
  t.match(again, { id: first.id, text: 'streamed' });
  t.strictSame(chunks.at(-1), ['end', 0]);
});

t.test('options reach berth under the names of its API', async (t) => {
  const metadata = '{"run":"42"}';
  const options = { timeout: '20s', allowedTools: 'Read, Grep', metadata, outputSchema: '{' };
  await t.rejects(execute('prompt', 'ask', { prompt: 'x', options }), {
    message: /outputSchema: it is no JSON object/,
    description: /^Remedy: /,
  });
  const { json } = await execute('job', 'start', { prompt: '[[say x]]', options: { metadata } });
  t.match(json.metadata, { run: '42' });
});

/** The next such day, as `2027-01-15`. */
function next(month: number, day: (year: number) => number): string {
  const of = (year: number): Date => new Date(Date.UTC(year, month - 1, day(year)));
  const year = new Date().getUTCFullYear();
  const tomorrow = Date.now() + 24 * 3_600_000;
  return of(of(year).getTime() > tomorrow ? year : year + 1)
    .toISOString()
    .slice(0, 10);
}

t.test('a time without a zone is one of the zone of the workflow', async (t) => {
  const winter = next(1, () => 15);
  const summer = next(7, () => 15);
  /** The last Sunday of March: the clocks change at 01:00 UTC. */
  const between = next(3, (year) => 31 - new Date(Date.UTC(year, 2, 31)).getUTCDay());
  const times = {
    [`${winter}T08:00:00`]: `${winter}T07:00:00.000Z`,
    [`${summer}T08:00:00`]: `${summer}T06:00:00.000Z`,
    [`${between}T01:59:59`]: `${between}T00:59:59.000Z`,
    [`${between}T03:00:00`]: `${between}T01:00:00.000Z`,
    [`${summer}T08:00:00-05:00`]: `${summer}T13:00:00.000Z`,
  };
  for (const [notBefore, not_before] of Object.entries(times)) {
    const { json } = await execute('job', 'start', { prompt: 'x', options: { notBefore } });
    t.match(json, { state: 'scheduled', not_before }, notBefore);
    await execute('job', 'cancel', { jobId: json.id });
  }
});

t.test('a binary field of the item becomes an attachment', async (t) => {
  const { surroundings } = await server;
  const binary = {
    data: { fileName: 'report.csv', mimeType: 'text/csv', content: Buffer.from('a,b\n') },
  };
  const items = [{ json: {}, binary }];
  const options = { attachments: '*' };
  const { json } = await execute('prompt', 'ask', { prompt: 'Sum it up', options }, { items });
  t.match(json, { is_error: false });
  const sent = JSON.stringify(surroundings.api.requests.map(({ body }) => body));
  t.match(sent, /report\.csv/);
  const missing = { attachments: 'picture' };
  await t.rejects(
    execute('prompt', 'ask', { prompt: 'x', options: missing }, { items }),
    /picture/,
  );
});

t.test('a job is started, awaited, listed and cancelled', async (t) => {
  const { json: started } = await execute('job', 'start', { prompt: '[[say done]]' });
  t.match(started, { id: /^job_/, session_id: null });
  const got = await execute('job', 'get', { jobId: started.id, waitSeconds: 30 });
  t.match(got.json, { state: 'succeeded', result: { result: 'done' } });
  const { output } = await execute('job', 'getAll', {
    filters: { state: ['succeeded'] },
    limit: 1,
  });
  t.match(output, [{ json: { id: started.id } }]);
  t.equal(output.length, 1);
  const { json: hanging } = await execute('job', 'start', { prompt: '[[hang stream]]' });
  const { json } = await execute('job', 'cancel', { jobId: hanging.id });
  t.match(json, { id: hanging.id, state: 'cancelled' });
});

t.test('a workflow waits for a job, and the call of berth continues it', async (t) => {
  const receiver = await openReceiver(t);
  const resumeUrl = `${receiver.url}/webhook-waiting/7/node-1?signature=a`;
  const prompt = '[[say awaited]]';
  const { json, waits } = await execute('job', 'startAndWait', { prompt }, { resumeUrl });
  t.equal(waits.length, 1);
  t.ok(Number(waits[0]) > Date.now());
  await until('berth has called', () => receiver.received.length > 0);
  const [call] = receiver.received;
  t.equal(call?.target, '/webhook-waiting/7/node-1?signature=a');
  const { node } = await loaded;
  const body = JSON.parse(call?.body ?? '');
  const berth = { url: (await server).url, token };
  const resumed = executionOf(node, berth, { parameters: {}, body });
  const { workflowData } = await node.webhook.call(resumed.context);
  t.match(workflowData?.[0]?.[0]?.json, { id: json.id, result: { result: 'awaited' } });
  const items = [{ json: {} }, { json: {} }];
  await t.rejects(execute('job', 'startAndWait', { prompt }, { items, resumeUrl }), {
    message: /several jobs/,
    description: /Loop Over Items/,
  });
});

t.test(
  'the input of a node that waits is its job, which n8n passes on after the limit',
  async (t) => {
    const items = [{ json: { a: 1 } }];
    const parameters = { prompt: '[[say late]]', limitWaitHours: 0.02 };
    const resumeUrl = 'http://127.0.0.1:9/webhook-waiting/7/node-1';
    const { json } = await execute('job', 'startAndWait', parameters, { items, resumeUrl });
    t.match(items[0]?.json, { id: json.id, state: /^(queued|running)$/ });
  },
);

t.test('no other call ends the wait, and berth may call again', async (t) => {
  const { node } = await loaded;
  const { url } = await server;
  const { json: other } = await execute('job', 'start', { prompt: '[[say other]]' });
  await execute('job', 'get', { jobId: other.id, waitSeconds: 30 });
  const { json: hanging } = await execute(
    'job',
    'startAndWait',
    { prompt: '[[hang stream]] awaited', options: { metadata: '{"run":"42"}' } },
    { resumeUrl: 'http://127.0.0.1:9/webhook-waiting/7/node-1' },
  );
  t.match(hanging.metadata, { run: '42', n8n_execution: '7:node-1' });
  const resume = async (id: string, berth = url, body: unknown = { data: { id } }) => {
    const parameters = { parameters: {}, body };
    const called = executionOf(node, { url: berth, token }, parameters);
    const result = await node.webhook.call(called.context);
    t.strictSame(result, { noWebhookResponse: true }, 'the execution is not continued');
    return called.answers;
  };
  t.match(await resume(hanging.id), [{ status: 503, body: { message: /has not ended/ } }]);
  t.match(await resume(other.id), [{ status: 403, body: { message: /does not wait for/ } }]);
  t.match(await resume('job_1/../x'), [{ status: 503 }]);
  t.match(await resume(hanging.id, 'http://127.0.0.1:9'), [{ status: 503 }]);
  t.match(await resume(hanging.id, url, null), [{ status: 503 }]);
  await execute('job', 'cancel', { jobId: hanging.id });
});

t.test('sessions are listed, read, interrupted and deleted', async (t) => {
  const { json: answer } = await execute('prompt', 'ask', { prompt: '[[say for the list]]' });
  const id = answer.session_id;
  const { output } = await execute('session', 'getAll', { returnAll: true });
  t.ok(output.some(({ json }) => json.id === id));
  t.match((await execute('session', 'get', { id })).json, { id, turns: 1 });
  t.match((await execute('session', 'interrupt', { id })).json, { interrupted: false });
  t.match((await execute('session', 'delete', { id })).json, { deleted: true });
  await t.rejects(execute('session', 'get', { id }), like({ httpCode: '404' }));
});

t.test('an error shows the cause, the remedy and the code', async (t) => {
  const id = '00000000-0000-4000-8000-000000000000';
  await t.rejects(execute('session', 'get', { id }), {
    message: /^cannot .* session/,
    description: /^Remedy: .* Code: session_not_found\./,
    httpCode: '404',
    itemIndex: 0,
  });
  await t.rejects(execute('prompt', 'ask', { prompt: 'x' }, {}, 'a wrong token'), {
    description: /Code: unauthorized/,
    ...like({ httpCode: '401' }),
  });
  const kept = await execute('session', 'get', { id }, { onError: 'continueRegularOutput' });
  const json = {
    ...{ error: /^cannot/, description: /^Remedy/ },
    ...{ code: 'session_not_found', retryable: false },
  };
  t.match(kept.output, [{ json, error: undefined, pairedItem: { item: 0 } }]);
  const onError = 'continueErrorOutput';
  const routed = executionOf(
    (await loaded).node,
    { url: (await server).url, token },
    { parameters: { resource: 'session', operation: 'get', id }, onError },
  );
  const [items] = await (await loaded).node.execute.call(routed.context);
  t.match(items, [{ json, error: { httpCode: '404' } }], 'n8n finds it for the error output');
  for (const operation of ['get', 'delete', 'interrupt']) {
    const empty = { message: /field id: it is empty/, description: /^Remedy/ };
    await t.rejects(execute('session', operation, { id: ' ' }), empty);
  }
  await t.rejects(execute('job', 'get', { jobId: '' }), { message: /field jobId: it is empty/ });
  const { node } = await loaded;
  const parameters = { resource: 'session', operation: 'get', id };
  const gone = executionOf(node, { url: 'http://127.0.0.1:9/', token }, { parameters });
  await t.rejects(node.execute.call(gone.context), {
    message: /^cannot reach berth at http:\/\/127/,
    description: /^Remedy: check the URL/,
  });
});

const interruptsIn = (log: string): number => log.split('not answered: interrupted').length - 1;

t.test('the stop of an execution interrupts the turn', async (t) => {
  const { log, surroundings } = await server;
  for (const operation of ['ask', 'askStream']) {
    const stopping = new AbortController();
    const text = `stopped while it ran ${operation}`;
    const prompt = `[[hang stream]] ${text}`;
    const asked = execute('prompt', operation, { prompt }, { stop: stopping.signal });
    await surroundings.api.waitForRequest((each) => promptText(each)?.includes(text) === true);
    const before = interruptsIn(log.text);
    stopping.abort();
    await t.rejects(asked);
    await until('the turn is interrupted', () => interruptsIn(log.text) > before);
  }
});

t.test('the test of the credential costs no prompt', async (t) => {
  const { credential } = await loaded;
  const { url, surroundings } = await server;
  const before = surroundings.api.requests.length;
  const { request } = credential.test;
  t.match(credential.authenticate.properties.headers, { Authorization: /^=Bearer / });
  const call = (bearer: string) =>
    fetch(url + request.url, { headers: { authorization: `Bearer ${bearer}` } });
  t.equal((await call(token)).status, 200);
  t.equal((await call('wrong')).status, 401);
  t.equal(surroundings.api.requests.length, before);
});
