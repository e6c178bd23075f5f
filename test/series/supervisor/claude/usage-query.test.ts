import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { queryUsage, windowsIn } from '../../../../supervisor/claude/usage-query.ts';
import { realClaude, startProcess } from '../../../support/claude.ts';
import { loggedIn } from '../../../support/logged-in.ts';

const resets_at = '2027-03-02T10:00:00+00:00';
const usage = {
  five_hour: { utilization: 37.5, resets_at },
  seven_day: { utilization: 12, resets_at: null },
  seven_day_opus: null,
  seven_day_sonnet: null,
  extra_usage: null,
};

t.test('the CLI reads the windows with the access token alone, and leaves nothing', async (t) => {
  const { surroundings, server } = await loggedIn(t, {});
  server.reportUsage(usage);
  const temporaryDirectory = join(surroundings.workspace, 'tmp');
  mkdirSync(temporaryDirectory);
  const login = readFileSync(join(surroundings.config, '.credentials.json'), 'utf8');
  const { inherited } = surroundings;
  const directories = { configDirectory: surroundings.config, temporaryDirectory };
  const found = await queryUsage({ path: realClaude, inherited, login, ...directories });
  t.same(found, {
    five_hour: { utilization: 0.375, resetsAt: Date.parse(resets_at) },
    seven_day: { utilization: 0.12, resetsAt: undefined },
  });
  t.same(readdirSync(temporaryDirectory), []);
  t.same(server.requests, [], 'no token was refreshed');
  t.equal(surroundings.api.requests.length, 0, 'no model was called');
});

t.test(
  'a worker cannot report the usage: its traffic is limited to requests to the model',
  async (t) => {
    const { surroundings, server } = await loggedIn(t, {});
    server.reportUsage(usage);
    const worker = startProcess(t, surroundings);
    await worker.control({ subtype: 'initialize' });
    const answer = await worker.control({ subtype: 'get_usage', skip_behaviors: true });
    t.match(answer, { rate_limits: null });
    t.equal(windowsIn(answer), undefined);
  },
);

t.test('only windows with sound figures are taken from an answer', async (t) => {
  t.equal(windowsIn(undefined), undefined);
  t.equal(windowsIn({ rate_limits: null }), undefined);
  t.equal(windowsIn({ rate_limits: { five_hour: { utilization: null } } }), undefined);
  const five_hour = { utilization: -3, resets_at };
  t.equal(windowsIn({ rate_limits: { five_hour, other: { utilization: 3 } } }), undefined);
  t.same(windowsIn({ rate_limits: { seven_day: { utilization: 101, resets_at: 'soon' } } }), {
    seven_day: { utilization: 1.01, resetsAt: undefined },
  });
});
