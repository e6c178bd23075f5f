/** Proposals in the bundle, as the image has it: what is loaded on demand must be in it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openHarbour, token } from '../../../init/fixture.ts';
import { startGitHubApi } from '../../../support/github-api.ts';
import { textAt } from '../../../support/github-git.ts';
import type { PullRequest } from '../../../support/github-pulls.ts';
import { startProgram } from '../../../support/programs.ts';
import { until } from '../../../support/until.ts';

t.test('the program opens a pull request, without the file that has a secret', async (t) => {
  const harbour = await openHarbour(t, { 'CLAUDE.md': 'one\n' });
  const { path } = harbour.repository;
  const opened: PullRequest[] = [];
  const pulls = { branches: [], git: path, opened };
  const api = await startGitHubApi({ repository: 'me/claude', token, pulls, gitData: { path } });
  t.teardown(() => api.close());
  mkdirSync(join(harbour.volume, 'skills/a'), { recursive: true });
  const login = 'postgres://app:not-a-passw0rd@db.internal:5432/app';
  writeFileSync(join(harbour.volume, 'skills/a/SKILL.md'), `Use ${login}.\n`);
  writeFileSync(join(harbour.volume, 'skills/a/other.md'), 'Use tabs.\n');
  const environment = harbour.environment({
    BERTH_GITHUB_API_URL: api.url,
    BERTH_PROPOSE_CHANGES: 'true',
    BERTH_SYNC_INTERVAL: '1s',
    BERTH_SYNC_LISTEN: '127.0.0.1:0',
  });
  const init = startProgram('init', { environment, arguments: [] });
  t.teardown(() => init.kill('SIGKILL'));
  await init.logged('proposed');
  await until('the pull request is there', () => opened.length === 1);
  t.equal(await textAt(path, 'berth/changes', 'skills/a/other.md'), 'Use tabs.\n');
  t.match(opened[0]?.body, /- `skills\/a\/SKILL\.md`: may have a secret/);
  init.kill('SIGTERM');
  await init.ended;
});
