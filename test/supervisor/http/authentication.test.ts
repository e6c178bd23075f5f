import { mock } from 'node:test';
import t from 'tap';
import { Authentication } from '../../../supervisor/http/authentication.ts';
import { fixedTokens } from '../../../supervisor/http/tokens.ts';
import { otherToken, startApiServer, token } from '../../support/api-server.ts';
import { captureLog } from '../../support/captured-log.ts';
import { startSupervisor } from '../../support/supervisor.ts';

const secret = 'a-guess-that-is-wrong';

t.test('refused requests are all counted and logged at a limited rate', async (t) => {
  const { url, failures, log, authentication } = await startApiServer(t);
  const get = (headers: Record<string, string>) => fetch(`${url}/v1/status`, { headers });
  for (let round = 0; round < 100; round++) await get({ authorization: `Bearer ${secret}` });
  for (let round = 0; round < 20; round++) await get({});
  t.equal(failures.filter((reason) => reason === 'unknown').length, 100);
  t.equal(failures.filter((reason) => reason === 'missing').length, 20);
  const told = () => log.lines.filter(({ event }) => event === 'auth_failed');
  t.match(told(), [{ level: 'warn', unknown: 1, missing: 0, address: '127.0.0.1' }]);
  authentication.close();
  t.match(told().slice(1), [{ unknown: 99, missing: 20 }], 'the rest is told at the end');
  t.notMatch(log.text, secret);
});

t.test('a minute later, the refused requests are logged together once', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const log = captureLog();
  const authentication = new Authentication({
    tokens: fixedTokens([]),
    log: log.log,
    onFailure: () => {},
  });
  const request = { headers: {}, ip: '10.0.0.1', routeOptions: { config: {} } };
  const refuse = () => t.throws(() => authentication.bearerOf(request as never));
  refuse();
  refuse();
  t.equal(log.count('auth_failed'), 1);
  mock.timers.tick(60_000);
  t.equal(log.count('auth_failed'), 2);
  mock.timers.tick(60_000);
  mock.timers.tick(60_000);
  t.equal(log.count('auth_failed'), 2, 'nothing was refused');
  refuse();
  t.equal(log.count('auth_failed'), 3, 'the next is told at once');
});

t.test(
  'the status shows the last use of each token name, and metrics count refused requests',
  async (t) => {
    const { call, metricsUrl } = await startSupervisor(t);
    const before = Date.now();
    await call('GET', '/v1/status', { token: secret });
    const { body } = await call('GET', '/v1/status');
    t.match(body.tokens, [
      { name: 'tests', last_used_at: String },
      { name: 'somebody', last_used_at: null },
    ]);
    t.ok(Date.parse(body.tokens[0].last_used_at) >= before - 1);
    t.notMatch(JSON.stringify(body), token);
    const metrics = await (await fetch(`${metricsUrl}/metrics`)).text();
    t.match(metrics, 'berth_auth_failures_total{reason="unknown"} 1');
    for (const each of [token, otherToken, secret]) t.notMatch(metrics, each);
  },
);

t.test('without tokens, every request is refused', async (t) => {
  const { url } = await startSupervisor(t, { tokens: fixedTokens([]) });
  for (const path of ['/v1/status', '/v1/prompts', '/v1/pause', '/v1/resume', '/']) {
    const headers = { authorization: `Bearer ${token}` };
    const { status } = await fetch(new URL(path, url), { method: 'POST', headers });
    t.equal(status, 401, path);
  }
});
