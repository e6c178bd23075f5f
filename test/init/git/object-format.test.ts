import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { gitEnvironment } from '../../support/repository.ts';
import { openHarbour } from '../fixture.ts';

t.test('a SHA-256 repository is refused with a remedy', async (t) => {
  const harbour = await openHarbour(t);
  const cwd = join(harbour.directory, 'repositories/me/new.git');
  mkdirSync(cwd);
  const git = (...args: string[]) =>
    execFileSync('git', args, { cwd, env: gitEnvironment(), input: '', encoding: 'utf8' }).trim();
  git('init', '--quiet', '--bare', '--object-format=sha256', '--initial-branch=main');
  const tree = git('hash-object', '-w', '-t', 'tree', '--stdin');
  git('update-ref', 'refs/heads/main', git('commit-tree', tree, '-m', 'first'));
  const url = harbour.url.replace('claude', 'new');
  await t.rejects(harbour.run({ BERTH_REPO: url }), {
    code: 'remote_refused',
    message: /SHA-256 repository.*make a SHA-1 one/,
  });
});
