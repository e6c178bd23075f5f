import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { historyFile } from '../../../shared/credentials-memory.ts';
import { LoginHistory } from '../../../supervisor/credentials/history.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';

const id = (serial: number): string => serial.toString(16).padStart(12, '0');

t.test('the first sight of a setup-token outlives any number of refreshes', async (t) => {
  const directory = testDirectory(t);
  const path = join(directory, historyFile);
  // As an older version wrote it.
  const old = { version: 1, superseded: [], refused: [], put_back: [], since: { [id(0)]: 1_000 } };
  writeFileSync(path, JSON.stringify(old));
  const history = new LoginHistory(directory, captureLog().log);
  await history.load();
  await history.recordSetupToken(id(0));
  for (let serial = 1; serial <= 210; serial++) await history.recordLogin(id(serial));
  t.equal(history.since(id(0)), 1_000);
  t.equal(history.since(id(1)), undefined, 'those of old logins are forgotten');
  t.equal(JSON.parse(readFileSync(path, 'utf8')).setup_tokens[id(0)], 1_000);
  const again = new LoginHistory(directory, captureLog().log);
  await again.load();
  await again.recordSetupToken(id(0));
  t.equal(again.since(id(0)), 1_000, 'over a restart too');
});
