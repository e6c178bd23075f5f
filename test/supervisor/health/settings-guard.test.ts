import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { SettingsGuard } from '../../../supervisor/health/settings-guard.ts';
import { captureLog } from '../../support/captured-log.ts';
import { makeSurroundings, scriptedClaude, startProcess } from '../../support/claude.ts';

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
