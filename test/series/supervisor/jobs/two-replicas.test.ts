/** Two supervisors that share the jobs of one Redis, and a Redis that goes away. */
import t, { type Test } from 'tap';
import { testDirectory } from '../../../support/directory.ts';
import { promptText } from '../../../support/messages-api.ts';
import { cannotRunRedis, redisPassword, redisServer } from '../../../support/redis-server.ts';
import { startSupervisor, startWithRealCli } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';
import { inSeconds, limitHeaders } from '../../../support/usage-limit.ts';

t.test(
  'two replicas share jobs; without Redis prompts go on and jobs are refused',
  { skip: cannotRunRedis() },
  async (t) => {
    const redis = await redisServer(t);
    const settings = (replica: string) => ({
      settings: { BERTH_REDIS_URL: redis.url, BERTH_REPLICA: replica, BERTH_WARM_WORKERS: '0' },
    });
    const a = await startSupervisor(t, settings('a'));
    const b = await startSupervisor(t, settings('b'));
    const accepted = await a.call('POST', '/v1/jobs', {
      body: { prompt: '[[say shared]]' },
      headers: { 'idempotency-key': 'one' },
    });
    t.match(accepted, { status: 202, body: { state: 'queued' } });
    const { id } = accepted.body;
    const ended = await b.call('GET', `/v1/jobs/${id}?wait=60s`);
    t.match(ended, { status: 200, body: { state: 'succeeded', result: { result: 'shared' } } });
    const running = b.prompt('[[hang stream]]');
    await b.surroundings.api.waitForRequest((one) => promptText(one) === '[[hang stream]]');
    await a.call('POST', '/v1/pause', { body: { reason: 'a test' } });
    t.match(await running, { status: 503, body: { code: 'paused' } }, 'a pause on a reaches b');
    await a.call('POST', '/v1/resume');
    await until('b has resumed', async () => {
      return (await b.call('GET', '/v1/status')).body.paused === null;
    });
    await redis.kill();
    const refused = await a.call('POST', '/v1/jobs', { body: { prompt: 'no' } });
    t.match(refused, { status: 503, body: { code: 'job_store_unavailable', retryable: true } });
    t.match(await a.prompt('[[say alone]]'), { status: 200, body: { result: 'alone' } });
    await redis.start();
    const again = await until('jobs are accepted again', async () => {
      const answer = await b.call('POST', '/v1/jobs', {
        body: { prompt: '[[say shared]]' },
        headers: { 'idempotency-key': 'one' },
      });
      return answer.status < 500 && answer;
    });
    t.equal(again.body.id, id, 'the key is remembered over the loss of Redis');
    t.notMatch(a.log.text + b.log.text, redisPassword);
  },
);

/** Two replicas with the same login and the same API, which therefore have the same account. */
async function sameAccount(t: Test, settings: Record<string, string> = {}) {
  const redis = await redisServer(t);
  const start = (replica: string, api?: string) =>
    startWithRealCli(t, {
      settings: { BERTH_REDIS_URL: redis.url, BERTH_REPLICA: replica, ...settings },
      environment: {
        ANTHROPIC_API_KEY: undefined,
        CLAUDE_CODE_OAUTH_TOKEN: 'sk-ant-oat01-of-the-tests',
        ...(api === undefined ? {} : { ANTHROPIC_BASE_URL: api }),
      },
    });
  const a = await start('a');
  return { a, b: await start('b', a.surroundings.api.url) };
}

t.test(
  'a usage limit that a prompt met on one replica closes the gate of the other',
  { skip: cannotRunRedis() },
  async (t) => {
    const { a, b } = await sameAccount(t);
    const resets = inSeconds(3_600);
    const resets_at = new Date(resets * 1_000).toISOString();
    const met = `[[status 429 ${limitHeaders('rejected', resets, 'five_hour', '1.0')}]]`;
    t.match(await a.prompt(met), { status: 429, body: { code: 'usage_limit', resets_at } });
    const isClosed = () => b.log.lines.find(({ event }) => event === 'limit_reached');
    const closed = await until('the gate of b is closed', isClosed);
    t.match(closed, { reason: 'usage_limit', resets_at });
    const sent = a.surroundings.api.requests.length;
    t.match(await b.prompt('[[say never]]'), {
      status: 429,
      body: { code: 'usage_limit', resets_at },
    });
    t.equal(a.surroundings.api.requests.length, sent, 'the API has not received it');
  },
);

t.test(
  'the share of the owner holds on a replica that has sent nothing',
  { skip: cannotRunRedis() },
  async (t) => {
    const directory = testDirectory(t, {
      'profiles.yaml': 'profiles: { default: { limits: { quota: { seven_day: 80% } } } }',
    });
    const { a, b } = await sameAccount(t, { BERTH_PROFILES_FILE: `${directory}/profiles.yaml` });
    const used = limitHeaders('allowed_warning', inSeconds(3_600), 'seven_day', '0.92');
    t.match(await a.prompt(`[[headers ${used}]] [[say hello]]`), { status: 200 });
    const isKnown = async () => (await b.call('GET', '/v1/status')).body.quota.windows.length > 0;
    await until('b knows the use of the account', isKnown);
    t.match(await b.prompt('[[say never]]'), {
      status: 429,
      body: { code: 'quota_reserved', window: 'seven_day' },
    });
  },
);
