import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { prefixFor } from '../../../supervisor/claude/usage-query.ts';
import { makeSurroundings } from '../../support/claude.ts';
import { testDirectory } from '../../support/directory.ts';
import { startSupervisor } from '../../support/supervisor.ts';

t.test('the start removes the access tokens that killed queries have left', async (t) => {
  const surroundings = await makeSurroundings(t);
  const TMPDIR = testDirectory(t);
  const leave = (name: string): string => {
    const directory = join(TMPDIR, name);
    mkdirSync(directory);
    writeFileSync(join(directory, '.credentials.json'), '{}');
    return directory;
  };
  const left = leave(`${prefixFor(surroundings.config)}a1B2c3`);
  const others = [leave(`${prefixFor('/another/volume')}a1B2c3`), leave('another-program')];
  await startSupervisor(t, { surroundings, environment: { TMPDIR } });
  t.notOk(existsSync(left));
  t.same(others.filter(existsSync), others, 'directories of other volumes and programs stay');
});
