import t from 'tap';
import { bashAllowed } from '../../support/claude.ts';
import { upTo } from '../../support/read-events.ts';
import { startSupervisor } from '../../support/supervisor.ts';

t.jobs = 2;

t.test("when the day's budget is used up prompts are refused, also after a restart", async (t) => {
  const settings = { BERTH_DAILY_BUDGET_USD: '0.000001' };
  const first = await startSupervisor(t, { settings });
  const { body } = await first.prompt('[[say paid]]');
  t.ok(body.cost_usd > 0);
  const refused = await first.prompt('[[say no]]');
  t.match(refused, {
    status: 429,
    body: { code: 'budget_exceeded', retryable: true, budget: 'deployment', resets_at: String },
  });
  const seconds = Number(refused.headers.get('retry-after'));
  t.ok(seconds > 0 && seconds <= 86_400, `${seconds} s`);
  const { spending } = (await first.call('GET', '/v1/status')).body;
  t.match(spending, {
    deployment: { spent_usd: body.cost_usd, limit_usd: 0.000001 },
    tokens: [{ name: 'tests', spent_usd: body.cost_usd, limit_usd: null }],
    profiles: [{ name: 'default', spent_usd: body.cost_usd }],
    resets_at: refused.body.resets_at,
  });
  const metrics = await (await fetch(`${first.metricsUrl}/metrics`)).text();
  t.match(metrics, new RegExp(`^berth_spent_today_usd ${body.cost_usd}$`, 'm'));
  for (const name of ['berth_token_spent_today_usd', 'berth_token_cost_usd_total']) {
    t.match(metrics, new RegExp(`^${name}\\{token="tests"\\} ${body.cost_usd}$`, 'm'));
  }
  await first.supervisor.stop();
  const second = await startSupervisor(t, { settings, surroundings: first.surroundings });
  t.match(await second.prompt('[[say no]]'), { status: 429, body: { code: 'budget_exceeded' } });
});

t.test('an interrupted turn counts with its cost so far', async (t) => {
  const { stream, call, log } = await startSupervisor(t, {
    config: { 'settings.json': bashAllowed },
  });
  const leaving = new AbortController();
  const prompt = '[[tool Bash {"command":"tail -f /dev/null"}]]';
  await upTo(stream(prompt, {}, leaving.signal), 'tool');
  leaving.abort();
  await log.logged('turn_finished', ({ code }) => code === 'interrupted');
  const { spending } = (await call('GET', '/v1/status')).body;
  t.ok(spending.deployment.spent_usd > 0, `${spending.deployment.spent_usd}`);
  t.equal(spending.tokens[0].spent_usd, spending.deployment.spent_usd);
});

t.test('the trace of the caller is on the lines of its turn', async (t) => {
  const { call, log } = await startSupervisor(t);
  const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
  const ask = (traceparent: string) =>
    call('POST', '/v1/prompts', { body: { prompt: '[[say x]]' }, headers: { traceparent } });
  t.equal((await ask(`00-${trace}-00f067aa0ba902b7-01`)).status, 200);
  t.equal((await ask('00-wrong')).status, 200, 'a wrong one is no reason to refuse');
  const turns = log.lines.filter(({ event }) => event === 'turn_finished');
  t.match(turns, [{ trace_id: trace }, { trace_id: undefined }]);
  t.match(
    log.lines.filter(({ event }) => event === 'turn_started'),
    [{ trace_id: trace }, {}],
  );
});
