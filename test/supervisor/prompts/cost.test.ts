import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { bashAllowed } from '../../support/claude.ts';
import { promptText } from '../../support/messages-api.ts';
import {
  type RunningSupervisor,
  startSupervisor,
  startWithRealCli,
} from '../../support/supervisor.ts';
import { until } from '../../support/until.ts';

t.jobs = 2;

const session = async ({ call }: RunningSupervisor, id: string) =>
  (await call('GET', `/v1/sessions/${id}`)).body;

const sum = (numbers: number[]): number => numbers.reduce((one, other) => one + other, 0);

t.test('the cost of a session is that of its turns, also across processes', async (t) => {
  const one = await startSupervisor(t);
  const first = (await one.prompt('[[big 4000]]')).body;
  const { session_id } = first;
  const second = (await one.prompt('[[big 8000]]', { session_id })).body;
  const before = await session(one, session_id);
  await one.supervisor.stop();
  const two = await startSupervisor(t, { surroundings: one.surroundings });
  const loaded = await session(two, session_id);
  t.match(loaded, { turns: 2, cost_usd: before.cost_usd, state: 'stored' });
  const third = (await two.prompt('[[big 2000]]', { session_id })).body;
  const fourth = (await two.prompt('[[big 2000]]', { session_id })).body;
  const turns = [first, second, third, fourth];
  const shown = await session(two, session_id);
  t.equal(shown.turns, 4);
  t.ok(Math.abs(shown.cost_usd - sum(turns.map(({ cost_usd }) => cost_usd))) < 1e-9);
  for (const kind of ['input_tokens', 'output_tokens', 'cache_read_input_tokens']) {
    t.equal(shown.usage[kind], sum(turns.map(({ usage }) => usage[kind])), kind);
  }
  // A thousand tokens of output each, whatever was used before.
  t.ok(Math.abs(third.usage.output_tokens - fourth.usage.output_tokens) < 50);
  t.ok(third.cost_usd < first.cost_usd, 'a resumed process does not count what was paid already');
});

t.test('the cost of the turns matches the usage that the API reported', async (t) => {
  const running = await startSupervisor(t);
  const { session_id } = (await running.prompt('[[say one]]')).body;
  const small = (await running.prompt('[[big 400]]', { session_id })).body;
  const large = (await running.prompt('[[big 40000]]', { session_id })).body;
  const tokens = large.usage.output_tokens - small.usage.output_tokens;
  t.ok(tokens > 5_000);
  // The rest differs by what was read from the cache, at a small fraction of the price.
  const price = (large.cost_usd - small.cost_usd) / tokens;
  const again = (await running.prompt('[[big 40400]]', { session_id })).body;
  const more = again.usage.output_tokens - small.usage.output_tokens;
  t.ok(Math.abs((again.cost_usd - small.cost_usd) / more / price - 1) < 0.2);
});

t.test('an interrupted turn is counted with its cost', async (t) => {
  const running = await startSupervisor(t);
  const { session_id, cost_usd } = (await running.prompt('[[say one]]')).body;
  const hanging = running.prompt('[[hang stream]]', { session_id });
  await running.surroundings.api.waitForRequest((one) => promptText(one) === '[[hang stream]]');
  await running.call('POST', `/v1/sessions/${session_id}/interrupt`);
  t.equal((await hanging).body.code, 'interrupted');
  const shown = await session(running, session_id);
  t.equal(shown.turns, 2);
  t.ok(shown.cost_usd >= cost_usd);
  await running.supervisor.stop();
  const path = join(running.surroundings.config, '.berth/sessions', `${session_id}.json`);
  t.equal(JSON.parse(readFileSync(path, 'utf8')).turns, 2, 'and it is on the volume');
});

t.test('a turn that the CLI runs by itself is paid for by its session', async (t) => {
  const running = await startWithRealCli(t, { config: { 'settings.json': bashAllowed } });
  const { surroundings } = running;
  const input = { command: 'sleep 0.3; echo done', run_in_background: true };
  const { body } = await running.prompt(`[[tool Bash ${JSON.stringify(input)}]]`);
  const shown = await until('the unprompted turn is counted', async () => {
    const now = await session(running, body.session_id);
    return now.cost_usd > body.cost_usd && now;
  });
  t.equal(shown.turns, 1, 'nobody asked for it');
  t.ok(shown.usage.output_tokens > body.usage.output_tokens);
  t.ok(surroundings.api.requests.length > 2);
});
