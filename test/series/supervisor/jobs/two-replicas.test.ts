/** Two supervisors that share the jobs of one Redis, and a Redis that goes away. */
import t from 'tap';
import { promptText } from '../../../support/messages-api.ts';
import { cannotRunRedis, redisPassword, redisServer } from '../../../support/redis-server.ts';
import { startSupervisor } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

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
