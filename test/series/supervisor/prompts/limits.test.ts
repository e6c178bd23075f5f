/**
 * What berth does at the limits of an account. The first test shows that the real CLI reports them. The others are about
 * berth's own logic, with the scripted CLI, which reports limits as the real one does.
 */
import t from 'tap';
import { type MessagesApi, promptText } from '../../../support/messages-api.ts';
import { startSupervisor, startWithRealCli } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';
import { inSeconds, limitHeaders } from '../../../support/usage-limit.ts';

// They wait for limits and time-outs most of the time.
t.jobs = 5;

const environment = {
  ANTHROPIC_API_KEY: undefined,
  CLAUDE_CODE_OAUTH_TOKEN: 'sk-ant-oat01-of-the-tests',
};

/**
 * The API refuses the first request of a prompt, and its usage limit ends 6 s after the refusal. The start of
 * the CLI takes none of that time.
 */
function refuseOnce(api: MessagesApi, prompt: string): void {
  let refused = false;
  api.reply((request) => {
    if (refused || promptText(request) !== prompt) return undefined;
    refused = true;
    const headers = JSON.parse(limitHeaders('rejected', inSeconds(6), 'five_hour', '1.0'));
    return { status: 429, headers };
  });
}

t.test('the limits that the real CLI reports', async (t) => {
  const { prompt, call, log, surroundings, metricsUrl } = await startWithRealCli(t, {
    environment,
  });
  let session_id: string | undefined;

  await t.test(
    'an answer warns of a limit that is nearly reached, and so does the status',
    async (t) => {
      const near = limitHeaders('allowed_warning', inSeconds(3_600), 'seven_day', '0.92');
      const { status, body } = await prompt(`[[headers ${near}]] [[say hello]]`);
      t.equal(status, 200);
      t.match(body.warnings, [
        /^92 % of the account's seven day usage limit is used; it resets at 2/,
      ]);
      t.match((await call('GET', '/v1/status')).body.limits, [
        { closed: false, utilization: { seven_day: 0.92 }, warnings: body.warnings },
      ]);
      session_id = body.session_id;
    },
  );

  await t.test(
    'at the usage limit nothing more is sent, and everybody hears when it ends',
    async (t) => {
      const resets = inSeconds(3_600);
      const resets_at = new Date(resets * 1_000).toISOString();
      const limited = `[[status 429 ${limitHeaders('rejected', resets, 'five_hour', '1.0')}]]`;
      const code = 'usage_limit';
      const first = await prompt(limited, { session_id });
      t.match(first, {
        status: 429,
        body: { code, retryable: true, resets_at, session_id: String },
      });
      const sent = surroundings.api.requests.length;
      for (const on_limit of ['fail', 'wait']) {
        const refused = await prompt('[[say never]]', { on_limit });
        t.match(refused, { status: 429, body: { code, resets_at, retry_after: Number } });
        t.ok(Number(refused.headers.get('retry-after')) > 3_500);
      }
      t.equal(surroundings.api.requests.length, sent, 'the API has not heard of them');
      const { body } = await call('GET', '/v1/status');
      t.match(body.limits, [{ login: 'default', closed: true, reason: code, resets_at }]);
      t.match(await log.logged('limit_reached'), { level: 'warn', resets_at, guessed: false });
      const metrics = await (await fetch(`${metricsUrl}/metrics`)).text();
      t.match(metrics, 'berth_limit_closed{login="default"} 1');
      t.match(metrics, 'berth_limit_utilization_ratio{login="default",window="five_hour"} 1');
      t.match(
        metrics,
        /^berth_limit_reset_timestamp_seconds\{login="default",window="five_hour"\} \d{10}$/m,
      );
    },
  );
});

t.test('a prompt that waits is sent when the limit ends', async (t) => {
  const { prompt, stream, log, surroundings } = await startSupervisor(t, { environment });
  refuseOnce(surroundings.api, 'hello');
  t.match(await prompt('hello'), { body: { code: 'usage_limit' } });
  const waiting = stream('[[say after all]]', { on_limit: 'wait' });
  t.match((await waiting.next()).value, {
    event: 'limited',
    data: { reason: 'usage_limit', resets_at: String },
  });
  t.notOk(surroundings.api.requests.some((one) => promptText(one) === '[[say after all]]'));
  const events = await Array.fromAsync(waiting);
  t.match(events.at(-1), { event: 'result', data: { result: 'after all' } });
  await log.logged('limit_lifted');
});

t.test('a job waits for the end of the limit, and spends no attempt on it', async (t) => {
  const { call, surroundings } = await startSupervisor(t, { environment });
  const prompt = '[[say after all]]';
  refuseOnce(surroundings.api, prompt);
  const { body: job } = await call('POST', '/v1/jobs', { body: { prompt } });
  const path = `/v1/jobs/${job.id}`;
  const parked = await until('the job is parked', async () => {
    const { body } = await call('GET', path);
    return body.state === 'parked' && body;
  });
  t.match(parked, { parked: { reason: 'usage_limit', until: String }, attempts: [] });
  const { body: ended } = await call('GET', `${path}?wait=60s`);
  t.match(ended, { state: 'succeeded', session_id: parked.session_id });
  t.equal(ended.attempts.length, 1);
});

t.test('a job does not run again and again at a limit of one model that ended here', async (t) => {
  const { call, surroundings } = await startSupervisor(t, { environment });
  // The clock of this machine is some minutes ahead of the clock of the API.
  const headers = JSON.parse(limitHeaders('rejected', inSeconds(-120), 'seven_day_opus', '1.0'));
  surroundings.api.reply(() => ({ status: 429, headers }));
  const { body: job } = await call('POST', '/v1/jobs', { body: { prompt: 'hello' } });
  const parked = await until('the job is parked', async () => {
    const { body } = await call('GET', `/v1/jobs/${job.id}`);
    return body.state === 'parked' && body;
  });
  t.strictSame(parked.parked, { reason: 'usage_limit', until: null });
  t.match((await call('GET', '/v1/status')).body.limits, [{ closed: false }]);
});

t.test('a job does not wait for the limit of an account that a restart has replaced', async (t) => {
  const { call, supervisor, surroundings } = await startSupervisor(t, { environment });
  const prompt = '[[say after all]]';
  let isLimited = true;
  surroundings.api.reply((request) => {
    if (!isLimited || promptText(request) !== prompt) return undefined;
    const resets = inSeconds(7 * 86_400);
    const headers = JSON.parse(limitHeaders('rejected', resets, 'seven_day', '1.0'));
    return { status: 429, headers };
  });
  const { body: job } = await call('POST', '/v1/jobs', { body: { prompt } });
  const path = `/v1/jobs/${job.id}`;
  await until('the job is parked', async () => {
    const { body } = await call('GET', path);
    return body.state === 'parked';
  });
  await supervisor.stop();
  isLimited = false;
  const next = await startSupervisor(t, {
    environment: { ...environment, CLAUDE_CODE_OAUTH_TOKEN: 'sk-ant-oat01-of-another-account' },
    surroundings,
  });
  t.match((await next.call('GET', `${path}?wait=60s`)).body, { state: 'succeeded' });
});

t.test('at a rate limit one prompt at a time tries', async (t) => {
  const { prompt, surroundings } = await startSupervisor(t);
  t.match(await prompt('[[status 429]]'), { status: 429, body: { code: 'rate_limited' } });
  const sent = surroundings.api.requests.length;
  const refused = await prompt('[[say never]]');
  t.match(refused, { status: 429, body: { code: 'rate_limited', retryable: true } });
  t.match(Number(refused.headers.get('retry-after')) <= 15, true);
  t.equal(surroundings.api.requests.length, sent);
});

t.test('a prompt that waits for its session keeps no other prompt from trying', async (t) => {
  const { prompt, call, stream } = await startSupervisor(t, { environment });
  const long = stream('[[hang stream]]');
  const session_id = await until('the turn runs', async () => {
    const { event, data } = (await long.next()).value ?? {};
    return event === 'session' && (data as { session_id: string }).session_id;
  });
  // A time that has just passed: the end of the limit is guessed.
  const headers = limitHeaders('rejected', inSeconds(-1), 'five_hour', '1.0');
  t.match(await prompt(`[[status 429 ${headers}]]`), { body: { code: 'usage_limit' } });
  const status = async () => (await call('GET', '/v1/status')).body;
  await until('a prompt may try', async () => {
    const [limit] = (await status()).limits;
    return limit.closed && limit.guessed && Date.parse(limit.resets_at) < Date.now();
  });
  const waiting = new AbortController();
  const waits = prompt('[[say never]]', { session_id }, { signal: waiting.signal });
  await until('a prompt waits for the session', async () => (await status()).queue.length === 1);
  t.match(await prompt('[[say it is open]]'), { status: 200, body: { result: 'it is open' } });
  waiting.abort();
  await t.rejects(waits);
});

t.test('a turn that hangs is ended long before its time is up', async (t) => {
  const { prompt, call } = await startSupervisor(t, {
    settings: { BERTH_HANG_TIMEOUT: '6s' },
  });
  const hung = await prompt('[[hang stream]]', { on_recycle: 'fail' });
  t.match(hung, {
    status: 503,
    body: { code: 'worker_recycled', retryable: true, session_id: String, cost_usd: Number },
  });
  await until('its worker is idle', async () => {
    const { body } = await call('GET', '/v1/status');
    return body.workers.every(({ state }: { state: string }) => state === 'idle');
  });
});
