/** Settings that the real CLI ignores: no prompt runs without its guards, and everything says so. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { SettingsGuard } from '../../../../supervisor/health/settings-guard.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { makeSurroundings, startProcess } from '../../../support/claude.ts';
import { startWithRealCli } from '../../../support/supervisor.ts';

const good = JSON.stringify({ permissions: { allow: ['Bash'], deny: ['WebFetch'] } });

t.test('no prompt runs while the CLI ignores settings.json, and all say so', async (t) => {
  const { prompt, call, log, surroundings, metricsUrl } = await startWithRealCli(t, {
    config: { 'settings.json': good.slice(0, -3) },
  });
  const file = join(surroundings.config, 'settings.json');
  t.match(await prompt('[[say unguarded]]'), {
    status: 503,
    body: {
      code: 'configuration_invalid',
      retryable: false,
      detail: /settings\.json, .* not valid JSON/,
    },
  });
  t.equal(surroundings.api.requests.filter(({ method }) => method === 'POST').length, 0);
  const { body } = await call('GET', '/v1/status');
  t.match(body.settings.ignored, [{ file, path: '', message: /not valid JSON/ }]);
  t.match(await (await fetch(`${metricsUrl}/metrics`)).text(), /^berth_settings_ignored 1$/m);
  await log.logged('settings_ignored');
});

t.test(
  'with BERTH_SETTINGS_CHECK=warn, prompts run and the ignored settings are reported',
  async (t) => {
    const { prompt, call, log } = await startWithRealCli(t, {
      config: { 'settings.json': '{"model": 7}' },
      settings: { BERTH_SETTINGS_CHECK: 'warn' },
    });
    t.match(await prompt('[[say well]]'), { status: 200 });
    const { body } = await call('GET', '/v1/status');
    t.match(body.settings.ignored, [{ path: 'model' }]);
    t.equal(log.count('settings_ignored'), 1);
  },
);

t.test('a running process is queried again after settings.json has changed', async (t) => {
  const surroundings = await makeSurroundings(t, { 'settings.json': good });
  const { config: configDirectory } = surroundings;
  const file = join(configDirectory, 'settings.json');
  const log = captureLog();
  const guard = new SettingsGuard({ configDirectory, policy: 'refuse', log: log.log });
  const child = startProcess(t, surroundings);
  await child.control({ subtype: 'initialize' });
  await guard.note(child);
  await guard.check(child);
  t.same(guard.ignored, []);

  const broken = { permissions: { allow: ['Bash'], deny: ['WebFetch', 'Bash(rm'] } };
  writeFileSync(file, JSON.stringify(broken));
  t.throws(() => guard.assertInForce(), { code: 'configuration_invalid' }, 'by its own rule');
  const refused = { code: 'configuration_invalid', message: /permissions\.deny\.1: / };
  await t.rejects(guard.check(child), refused);
  await t.rejects(guard.check(child), refused);
  t.match(guard.ignored, [{ file, path: 'permissions.deny.1', loses: 'guard' }]);
  t.equal(log.count('settings_ignored'), 1, 'it is logged once');

  writeFileSync(file, good);
  await guard.check(child);
  guard.assertInForce();
  t.equal(log.count('settings_in_force'), 1);
});
