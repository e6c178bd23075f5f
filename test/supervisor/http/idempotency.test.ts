import t, { type Test } from 'tap';
import { BerthError, type ErrorCode } from '../../../shared/errors.ts';
import { readKey } from '../../../supervisor/http/idempotency.ts';
import type { RunsPrompts } from '../../../supervisor/prompts/prompts.ts';
import {
  type ApiServerTestOptions,
  answerOf,
  otherToken,
  startApiServer,
  token,
} from '../../support/api-server.ts';
import { collect, readEvents } from '../../support/read-events.ts';
import { startSupervisor } from '../../support/supervisor.ts';
import { until } from '../../support/until.ts';

t.jobs = 4;

/** A server whose prompts are counted. */
async function start(t: Test, options: ApiServerTestOptions = {}) {
  const ran: string[] = [];
  const run: RunsPrompts['run'] = async (prompt, caller, tell) => {
    ran.push(prompt.text);
    return options.run ? options.run(prompt, caller, tell) : answerOf(`answer ${ran.length}`);
  };
  const { url } = await startApiServer(t, { ...options, run });
  const send = (key: string, body: unknown, more: Record<string, string> = {}) =>
    fetch(`${url}/v1/prompts`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        'idempotency-key': key,
        ...more,
      },
      body: JSON.stringify(body),
    });
  const ask = async (...request: Parameters<typeof send>) => {
    const response = await send(...request);
    return {
      status: response.status,
      replayed: response.headers.get('idempotency-replayed'),
      retryAfter: response.headers.get('retry-after'),
      body: (await response.json()) as Record<string, unknown>,
    };
  };
  return { ran, send, ask };
}

t.test('the same key and prompt are answered once, by the CLI and then from memory', async (t) => {
  const { call, surroundings } = await startSupervisor(t);
  const body = { prompt: '[[say once]]', metadata: { run: '1', item: '2' } };
  const headers = { 'idempotency-key': '"1042:0"' };
  const first = await call('POST', '/v1/prompts', { body, headers });
  t.match(first, { status: 200, body: { result: 'once' } });
  t.equal(first.headers.get('idempotency-replayed'), null);
  const asked = surroundings.api.requests.length;
  const again = { metadata: { item: '2', run: '1' }, prompt: '[[say once]]' };
  const bare = { 'idempotency-key': '1042:0' };
  const second = await call('POST', '/v1/prompts', { body: again, headers: bare });
  t.equal(second.headers.get('idempotency-replayed'), 'true');
  t.same(second.body, first.body, 'bare is quoted, and the order of fields says nothing');
  t.equal(surroundings.api.requests.length, asked, 'the model was not asked');
});

t.test('a stream of it is a stream of its result', async (t) => {
  const { send, ask, ran } = await start(t);
  const first = await ask('k', { prompt: 'x' });
  const response = await send('k', { prompt: 'x' }, { accept: 'text/event-stream' });
  t.equal(response.headers.get('idempotency-replayed'), 'true');
  t.same(await collect(readEvents(response)), [{ event: 'result', data: first.body }]);
  t.equal(ran.length, 1);
  const streamed = await send('s', { prompt: 'x' }, { accept: 'text/event-stream' });
  const [result] = await collect(readEvents(streamed));
  t.same((await ask('s', { prompt: 'x' })).body, result?.data, 'and the other way round');
});

t.test('another prompt under the key is refused, and the first answer stays', async (t) => {
  const { ask, ran } = await start(t);
  const first = await ask('k', { prompt: 'x' });
  t.match(await ask('k', { prompt: 'y' }), {
    status: 422,
    body: { code: 'idempotency_mismatch', retryable: false, detail: /"k" was used for another/ },
  });
  t.same((await ask('k', { prompt: 'x' })).body, first.body);
  t.same(ran, ['x']);
});

t.test('while the first is being answered the second is sent away, to come again', async (t) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { ask, ran } = await start(t, {
    run: async () => {
      await promise;
      return answerOf('at last');
    },
  });
  const first = ask('k', { prompt: 'x' });
  await until('it runs', () => ran.length === 1);
  t.match(await ask('k', { prompt: 'x' }), {
    status: 409,
    retryAfter: '5',
    body: { code: 'idempotency_conflict', retryable: true },
  });
  t.match(await ask('k', { prompt: 'y' }), { status: 422 });
  resolve();
  const { body } = await first;
  t.match(await ask('k', { prompt: 'x' }), { status: 200, replayed: 'true', body });
  t.equal(ran.length, 1);
});

t.test("keys belong to the token's name", async (t) => {
  const { ask } = await start(t);
  const mine = await ask('k', { prompt: 'x' });
  const other = { authorization: `Bearer ${otherToken}` };
  const theirs = await ask('k', { prompt: 'y' }, other);
  t.match(theirs, { status: 200, replayed: null, body: { result: 'answer 2' } });
  t.same((await ask('k', { prompt: 'x' })).body, mine.body);
});

t.test('a permanent error is replayed for its key; a temporary error is not', async (t) => {
  const failing = (code: ErrorCode) =>
    start(t, {
      run: async () => {
        throw new BerthError(code, 'cannot answer', { details: { session_id: 's' } });
      },
    });
  const kept: ErrorCode[] = ['turn_failed', 'worker_lost', 'prompt_timeout', 'session_not_found'];
  for (const code of kept) {
    const { ask, ran } = await failing(code);
    const first = await ask('k', { prompt: 'x' });
    t.match(await ask('k', { prompt: 'x' }), { ...first, replayed: 'true' }, code);
    t.equal(ran.length, 1, code);
  }
  const passing: ErrorCode[] = [
    'queue_full',
    'model_unavailable',
    'draining',
    'paused',
    'interrupted',
    'login_required',
    'internal',
    'token_revoked',
  ];
  for (const code of passing) {
    const { ask, ran } = await failing(code);
    t.match(await ask('k', { prompt: 'x' }), { body: { code } });
    t.match(await ask('k', { prompt: 'x' }), { replayed: null, body: { code } });
    t.equal(ran.length, 2, code);
  }
});

t.test('an invalid request is not stored under its key', async (t) => {
  const { ask } = await start(t);
  t.match(await ask('k', { prompt: '' }), { status: 400 });
  t.match(await ask('k', { prompt: 'x' }), { status: 200, replayed: null });
});

t.test('the window ends, and 0 keeps nothing', async (t) => {
  const clock = { now: 1 };
  const { ask, ran } = await start(t, { idempotency: { window: 1_000, now: () => clock.now } });
  await ask('k', { prompt: 'x' });
  clock.now = 1_000;
  t.equal((await ask('k', { prompt: 'x' })).replayed, 'true');
  clock.now = 1_002;
  t.equal((await ask('k', { prompt: 'y' })).replayed, null, 'any prompt may have the key');
  t.same(ran, ['x', 'y']);
  const none = await start(t, { idempotency: { window: 0 } });
  await none.ask('k', { prompt: 'x' });
  t.equal((await none.ask('k', { prompt: 'x' })).replayed, null);
});

t.test('memory is bounded in keys and bytes, for each name; the oldest go', async (t) => {
  const few = await start(t, { idempotency: { mostKeys: 3 } });
  for (const key of ['a', 'b', 'c', 'd']) await few.ask(key, { prompt: key });
  const other = { authorization: `Bearer ${otherToken}` };
  for (const key of ['e', 'f', 'g', 'h']) await few.ask(key, { prompt: key }, other);
  t.equal((await few.ask('d', { prompt: 'd' })).replayed, 'true', "another's do not press it out");
  t.equal((await few.ask('b', { prompt: 'b' })).replayed, 'true');
  t.equal((await few.ask('a', { prompt: 'a' })).replayed, null);
  const small = await start(t, {
    idempotency: { mostBytes: 100_000 },
    run: async ({ text }) => answerOf(text.repeat(20_000)),
  });
  for (const key of ['a', 'b', 'c']) await small.ask(key, { prompt: key });
  t.equal((await small.ask('c', { prompt: 'c' })).replayed, 'true');
  t.equal((await small.ask('a', { prompt: 'a' })).replayed, null);
});

t.test('a key is 1 to 255 characters, quoted or bare', async (t) => {
  const right: [string, string][] = [
    ['a', 'a'],
    ['"a"', 'a'],
    ['"a b, c"', 'a b, c'],
    ['"a \\"b\\" \\\\"', 'a "b" \\'],
    ['1042:0', '1042:0'],
    ['x'.repeat(255), 'x'.repeat(255)],
    [`"${'x'.repeat(255)}"`, 'x'.repeat(255)],
  ];
  for (const [header, key] of right) t.equal(readKey(header), key, header);
  t.equal(readKey(undefined), undefined);
  for (const header of [
    '',
    '""',
    '"a',
    'a"',
    'a b',
    'a, b',
    'ä',
    '"ä"',
    'x'.repeat(256),
    '"\\a"',
  ]) {
    t.throws(() => readKey(header), { code: 'invalid_request', message: /1 to 255/ }, header);
  }
  const { ask, ran } = await start(t);
  t.match(await ask('a b', { prompt: 'x' }), { status: 400, body: { code: 'invalid_request' } });
  t.same(ran, []);
});
