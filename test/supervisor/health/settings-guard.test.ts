import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { SettingsGuard } from '../../../supervisor/health/settings-guard.ts';
import { captureLog } from '../../support/captured-log.ts';
import { makeSurroundings, scriptedClaude, startProcess } from '../../support/claude.ts';

t.test('a prompt runs again as soon as another ignored file is corrected', async (t) => {
  const { config: configDirectory } = await makeSurroundings(t);
  const { log, lines } = captureLog();
  const guard = new SettingsGuard({ configDirectory, policy: 'refuse', log });
  const errors = [{ file: '/etc/claude-code/managed-settings.json', message: 'not JSON' }];
  let queries = 0;
  const process = {
    control: async () => {
      queries += 1;
      return { sources: [], errors };
    },
  };
  await t.rejects(guard.check(process), { code: 'configuration_invalid' });
  t.match(guard.ignored, errors, 'the status shows it');
  t.doesNotThrow(() => guard.assertInForce(), 'only a process knows whether it is still so');
  errors.pop();
  await t.resolves(guard.check(process));
  t.same(guard.ignored, []);
  t.equal(queries, 2);
  await guard.check(process);
  t.equal(queries, 2, 'a good judgement is kept');
  t.match(lines.at(-1), { event: 'settings_in_force' });
});

t.test('a settings.json that is a symlink to itself fails no start of a process', async (t) => {
  const surroundings = await makeSurroundings(t);
  const { config: configDirectory } = surroundings;
  symlinkSync('settings.json', join(configDirectory, 'settings.json'));
  const { log } = captureLog();
  const guard = new SettingsGuard({ configDirectory, policy: 'refuse', log });
  const child = startProcess(t, surroundings, { path: scriptedClaude });
  await child.control({ subtype: 'initialize' });
  await t.resolves(guard.note(child));
});
