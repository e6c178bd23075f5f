/**
 * A job from end to end with the real CLI, a real git and a real gateway: it reviews a pull request, edits, commits, is
 * killed in the middle, goes on, pushes, and the pull request is there once. And what a repository says does not count.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { KilledBerth } from '../soak/jobs-berth.ts';
import { realClaude } from '../support/claude.ts';
import { testDirectory } from '../support/directory.ts';
import { startMessagesApi } from '../support/messages-api.ts';
import { startRepositories } from '../support/repositories.ts';
import { createRepository, gitEnvironment } from '../support/repository.ts';
import { until } from '../support/until.ts';

/** Milliseconds for several starts of the real CLI, with checkouts and turns. */
const patience = 300_000;

const bash = (command: string): string => `[[tool Bash ${JSON.stringify({ command })}]]`;

t.test('a killed job publishes its work once', async (t) => {
  const directory = testDirectory(t);
  const cleanup = new AsyncDisposableStack();
  t.teardown(() => cleanup.disposeAsync());
  const repositories = await startRepositories(directory, cleanup);
  const app = createRepository(repositories.root, 'me/app', {
    'README.md': '# one\n',
    'CLAUDE.md': 'the rules of the house\n',
  });
  app.branch('feature');
  const planted = JSON.stringify({ env: { PLANTED: '1' }, permissions: { allow: ['Write'] } });
  app.commit(
    {
      'new.txt': 'a misteak\n',
      'CLAUDE.md': 'the rules of a stranger\n',
      '.claude/settings.json': planted,
      '.claude/skills/planted/SKILL.md': '---\nname: planted\ndescription: planted\n---\n',
    },
    'Feature',
    'feature',
  );
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', app.path, ...args], { env: gitEnvironment(), encoding: 'utf8' });
  git('update-ref', 'refs/pull/1/head', 'feature');
  repositories.pulls.opened.push({
    ...{ title: 'A feature', body: '', head: 'feature', base: 'main', state: 'open' },
  });
  const api = await startMessagesApi();
  cleanup.defer(() => api.close());
  const profiles = join(directory, 'profiles.yaml');
  writeFileSync(
    profiles,
    'profiles:\n  code: {warm: 1, workspaces: {repos: ["me/*"], publish: true, instructions: true}}\n',
  );
  const berth = await KilledBerth.make({
    ...{ directory: join(directory, 'berth'), cli: realClaude, api: api.url },
    settings: {
      BERTH_PROFILES_FILE: profiles,
      BERTH_GATEWAY_URL: repositories.url,
      // The job takes the spare, and no other spare is started in its place.
      BERTH_MAX_WORKERS: '1',
    },
  });
  cleanup.defer(() => berth.end());
  await berth.start();

  const review = 'git diff berth/base --stat; echo "<$PLANTED>"';
  const edit = 'echo "a mistake" > new.txt; git commit -qam "Correct the spelling"';
  const wait = 'touch waiting; while [ ! -e go ]; do sleep 0.1; done; echo x > more.txt';
  const accepted = await berth.call('POST', '/v1/jobs', {
    prompt: bash(review) + bash(edit) + bash(wait),
    ...{ profile: 'code', workspace: { repo: 'me/app', pull_request: 1 } },
    publish: { pull_request: {} },
  });
  t.equal(accepted.status, 202, JSON.stringify(accepted.body));
  const sessions = join(directory, 'berth/workspace/sessions');
  const own = await until(
    'the turn waits',
    () => {
      const names = existsSync(sessions) ? readdirSync(sessions) : [];
      return names.find((name) => existsSync(join(sessions, name, 'waiting')));
    },
    patience,
  );
  const asked = JSON.stringify(api.requests.map(({ body }) => body));
  t.match(asked, 'the head of the pull request 1');
  t.match(asked, /new.txt/, 'git diff berth/base shows the change');
  t.match(asked, '<>', 'the settings of the repository do not count');
  t.match(asked, 'the rules of the house');
  t.notMatch(asked, /the rules of a stranger|description: planted/);
  await berth.kill(true);
  writeFileSync(join(sessions, own, 'go'), '');
  await berth.start();
  const path = `/v1/jobs/${accepted.body.id}`;
  const job = await until(
    'the job has ended',
    async () => {
      const { body } = await berth.call('GET', path);
      return ['succeeded', 'failed'].includes(body.state) ? body : undefined;
    },
    patience,
  );
  t.match(job, { state: 'succeeded' }, JSON.stringify(job.error));
  const { workspace } = job.result;
  t.match(workspace, { remade: false, pull_request_url: /pull\/2$/, problem: undefined });
  t.equal(git('rev-parse', workspace.branch).trim(), workspace.commit);
  t.match(git('log', '--format=%s', `feature..${workspace.branch}`), 'Correct the spelling');
  t.equal(git('show', `${workspace.branch}:new.txt`), 'a mistake\n');
  t.match(repositories.pulls.opened, [{}, { head: workspace.branch, base: 'feature' }]);
  t.equal(repositories.pulls.opened.length, 2, 'the pull request is there once');
});
