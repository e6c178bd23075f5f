import t from 'tap';
import { bashAllowed } from '../../support/claude.ts';
import { promptText } from '../../support/messages-api.ts';
import { collect, upTo } from '../../support/read-events.ts';
import { startSupervisor } from '../../support/supervisor.ts';
import { until } from '../../support/until.ts';

t.jobs = 3;

t.test('an answer as JSON has everything that a workflow needs', async (t) => {
  const { prompt } = await startSupervisor(t);
  const answer = await prompt('[[say hello]]', { metadata: { run: '42' }, timeout: '60s' });
  t.equal(answer.status, 200);
  t.match(answer.headers.get('content-type'), /^application\/json/);
  t.match(answer.body, {
    id: /^prompt_[0-9a-f-]{36}$/,
    session_id: /^[0-9a-f-]{36}$/,
    result: 'hello',
    is_error: false,
    stop_reason: 'end_turn',
    usage: { input_tokens: Number, output_tokens: Number },
    num_turns: 1,
    permission_denials: [],
    warnings: [],
    recycled: 0,
    metadata: { run: '42' },
  });
  const { cost_usd, duration_ms, queued_ms, ttft_ms } = answer.body;
  t.ok(cost_usd > 0 && ttft_ms > 0 && duration_ms >= ttft_ms && queued_ms <= duration_ms);
  t.notOk('metadata' in (await prompt('[[say hello]]')).body, 'what was not given is not returned');
});

t.test('a stream has its events in sequence, and its texts add up to the result', async (t) => {
  const { stream, call } = await startSupervisor(t, {
    config: { 'settings.json': bashAllowed },
    settings: { BERTH_WARM_WORKERS: '1' },
  });
  await until('a worker is warm', async () => {
    const { body } = await call('GET', '/v1/status');
    return body.workers.some(({ state }: { state: string }) => state === 'warm');
  });
  const prompt = '[[tool Bash {"command":"echo from-a-tool"}]]';
  const events = await collect(stream(prompt, { metadata: { run: '42' } }));
  t.same(
    events.map(({ event }) => event).filter((name, index, all) => name !== all[index - 1]),
    ['session', 'tool', 'tool_result', 'text', 'result'],
  );
  const of = (name: string) => events.filter(({ event }) => event === name).map(({ data }) => data);
  const [result] = of('result');
  const texts = of('text').map(({ text }) => text);
  t.ok(texts.length > 1, 'it comes in pieces');
  t.equal(texts.join(''), result.result);
  t.equal(result.result, '[stand-in] The tool answered: from-a-tool');
  t.match(of('session'), [{ session_id: result.session_id, model: String, skills: Array }]);
  t.match(of('tool'), [{ id: String, name: 'Bash', input: { command: 'echo from-a-tool' } }]);
  t.same(of('tool_result'), [{ id: of('tool')[0].id, is_error: false }]);
  t.same(result.metadata, { run: '42' });
});

t.test('a stream reports waiting and retries', async (t) => {
  const { stream } = await startSupervisor(t, {
    environment: { CLAUDE_CODE_MAX_RETRIES: '3' },
  });
  const events = await collect(stream('[[status 529 x1]] [[say at last]]'));
  t.match(events, [
    { event: 'queued', data: { position: 1 } },
    { event: 'session' },
    { event: 'retry', data: { attempt: 1, max_retries: 3, delay_ms: Number, status: 529 } },
  ]);
  t.match(events.at(-1), { event: 'result', data: { result: 'at last' } });
});

t.test(
  'a prompt that is refused before its stream begins gets the status of its error',
  async (t) => {
    const { call } = await startSupervisor(t);
    const answered = await call('POST', '/v1/prompts', {
      headers: { accept: 'text/event-stream' },
      body: { prompt: 'x', session_id: '11111111-1111-4111-8111-111111111111' },
    });
    t.match(answered, { status: 404, body: { code: 'session_not_found' } });
    t.match(answered.headers.get('content-type'), 'application/problem+json');
  },
);

t.test('a failure is the last event of its stream', async (t) => {
  const { stream } = await startSupervisor(t);
  const events = await collect(stream('[[status 401]]'));
  t.match(events.at(-1), {
    event: 'error',
    data: { code: 'login_required', status: 503, retryable: false, session_id: String },
  });
  t.notOk(events.some(({ event }) => event === 'result'));
});

for (const how of ['a stream', 'an answer']) {
  t.test(`a prompt is interrupted when the client that waits for ${how} disconnects`, async (t) => {
    const { stream, prompt, call, surroundings, log } = await startSupervisor(t);
    const leaving = new AbortController();
    const text = `[[hang stream]] ${how}`;
    const waiting: Promise<unknown> =
      how === 'a stream'
        ? collect(stream(text, {}, leaving.signal))
        : prompt(text, {}, { signal: leaving.signal });
    waiting.catch(() => {});
    const mine = (request: Parameters<typeof promptText>[0]) => promptText(request) === text;
    const { outcome } = await surroundings.api.waitForRequest(mine);
    t.equal(outcome, 'pending');
    leaving.abort();
    await t.rejects(waiting, { name: 'AbortError' });
    await surroundings.api.waitForRequest(
      (request) => mine(request) && request.outcome === 'abandoned',
    );
    const { session_id } = await log.logged('turn_finished', ({ code }) => code === 'interrupted');
    const states = async () =>
      (await call('GET', '/v1/status')).body.workers.map(({ state }: { state: string }) => state);
    await until('its worker is idle', async () => (await states()).includes('idle'));
    t.equal(log.count('worker_recycled'), 0);
    const again = await prompt('[[say still here]]', { session_id });
    t.match(again, { status: 200, body: { result: 'still here', session_id } });
  });
}

t.test('a client that goes away while it waits leaves the queue', async (t) => {
  const { stream, call } = await startSupervisor(t, { settings: { BERTH_MAX_WORKERS: '1' } });
  const running = stream('[[hang stream]]');
  await upTo(running, 'session');
  const leaving = new AbortController();
  const waiting = stream('[[say never]]', {}, leaving.signal);
  await upTo(waiting, 'queued');
  const length = async () => (await call('GET', '/v1/status')).body.queue.length;
  t.equal(await length(), 1);
  leaving.abort();
  await until('it has left', async () => (await length()) === 0);
});

t.test('an answer larger than the buffer limit of a slow reader arrives completely', async (t) => {
  const { prompt, stream } = await startSupervisor(t);
  const { body } = await prompt('[[big 6000000]]');
  t.equal(body.result.length, 6_000_000);
  const events = await collect(stream('[[big 6000000]]'));
  t.equal(events.at(-1)?.data.result.length, 6_000_000);
});
