import t, { type Test } from 'tap';
import { startMessagesApi } from '../support/messages-api.ts';

async function start(t: Test) {
  const api = await startMessagesApi();
  t.teardown(() => api.close());
  const post = (path: string, body: unknown) =>
    fetch(api.url + path, { method: 'POST', body: JSON.stringify(body) });
  return { api, post };
}

/** A turn of a conversation, as small as one can be. */
const turn = (prompt: string, rest: object = {}) => ({
  messages: [
    { role: 'user', content: prompt },
    { role: 'system', content: 'Environment' },
  ],
  ...rest,
});

t.test('the server also answers the other requests of the CLI', async (t) => {
  const { api, post } = await start(t);
  t.equal((await fetch(api.url, { method: 'HEAD' })).status, 200);
  t.match(await (await fetch(`${api.url}/v1/models`)).json(), { data: [{ type: 'model' }] });
  const count = await post('/v1/messages/count_tokens?beta=true', turn('hello'));
  t.match(await count.json(), { input_tokens: Number });
  const profile = await fetch(`${api.url}/api/oauth/profile`);
  t.equal(profile.status, 404);
  t.match(await profile.json(), { type: 'error', error: { type: 'not_found_error' } });
  t.equal((await fetch(`${api.url}/v1/messages`, { method: 'POST', body: '{' })).status, 400);
});

t.test('without streaming it answers with one object', async (t) => {
  const { post } = await start(t);
  const answer = await (await post('/v1/messages', turn('[[say hello]]'))).json();
  t.match(answer, {
    type: 'message',
    content: [{ type: 'text', text: 'hello' }],
    stop_reason: 'end_turn',
    usage: { input_tokens: Number, output_tokens: Number },
  });
});

t.test('a stream has the events of the real API in the same sequence', async (t) => {
  const { post } = await start(t);
  const response = await post('/v1/messages', turn('[[tool Bash {"a":1}]]', { stream: true }));
  const events = [...(await response.text()).matchAll(/^event: (\w+)$/gm)].map((match) => match[1]);
  t.same(events, [
    'message_start',
    'ping',
    'content_block_start',
    'content_block_delta',
    'content_block_stop',
    'message_delta',
    'message_stop',
  ]);
});

t.test('slow waits before each of the eight deltas', async (t) => {
  const { post } = await start(t);
  const started = performance.now();
  const response = await post('/v1/messages', turn('[[slow 20]] hello', { stream: true }));
  const events = (await response.text()).match(/^event: content_block_delta$/gm);
  t.equal(events?.length, 8);
  // A timer may fire a millisecond early.
  t.ok(performance.now() - started >= 8 * 19);
});

t.test('a status counts by its own text and carries its headers', async (t) => {
  const { post } = await start(t);
  const statuses: number[] = [];
  for (const label of ['#a', '#b', '#a', '#b']) {
    const prompt = `[[status 429 x1 ${label} {"retry-after":"3"}]]`;
    const response = await post('/v1/messages', turn(prompt));
    statuses.push(response.status);
    if (response.status === 429) t.equal(response.headers.get('retry-after'), '3');
    await response.text();
  }
  t.same(statuses, [429, 429, 200, 200]);
});

t.test('a directive outside a conversation has no effect', async (t) => {
  const { post } = await start(t);
  const title = await post('/v1/messages', {
    messages: [{ role: 'user', content: '<session>[[hang headers]]</session>' }],
    output_config: {
      format: {
        type: 'json_schema',
        schema: { type: 'object', properties: { title: { type: 'string' } } },
      },
    },
  });
  const { content } = (await title.json()) as { content: { text: string }[] };
  t.same(JSON.parse(content[0]?.text ?? ''), { title: 'Stand-in' });
});

t.test('directives in reminders, commands and older prompts script nothing', async (t) => {
  const { post } = await start(t);
  const answer = await post('/v1/messages', {
    messages: [
      {
        role: 'user',
        content: [
          { type: 'text', text: '[[hang headers]]' },
          { type: 'text', text: '[Request interrupted by user]' },
          { type: 'text', text: 'hello' },
          { type: 'text', text: '<system-reminder>\n[[hang headers]]\n</system-reminder>\n' },
          { type: 'text', text: '<local-command-stdout>[[drop]]</local-command-stdout>' },
        ],
      },
    ],
  });
  t.match(await answer.json(), { content: [{ text: /^\[stand-in\] You said: hello\n/ }] });
});

t.test('a wait for a request ends by its deadline and by its signal', async (t) => {
  const { api } = await start(t);
  await fetch(`${api.url}/v1/models`);
  await t.rejects(
    api.waitForRequest(() => false, 10),
    { message: 'no such request came; came: GET /v1/models' },
  );
  const controller = new AbortController();
  const waiting = api.waitForRequest(() => false, controller.signal);
  controller.abort();
  await t.rejects(waiting, /no such request/);
});

t.test('it keeps the latest thousand requests', async (t) => {
  const { api } = await start(t);
  for (let count = 0; count < 1_005; count++)
    await fetch(`${api.url}/${count}`, { method: 'HEAD' });
  t.equal(api.requests.length, 1_000);
  t.equal(api.requests.at(-1)?.path, '/1004');
});

t.test('it closes at once, twice if need be, while a call hangs', async (t) => {
  const { api, post } = await start(t);
  const hanging = post('/v1/messages', turn('[[hang headers]]'));
  hanging.catch(() => {});
  await api.waitForRequest((request) => request.path === '/v1/messages');
  await Promise.all([api.close(), api.close()]);
  await t.rejects(hanging);
});
