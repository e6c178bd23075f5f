/** Proposals beside the real CLI: where it keeps its memory, and what the guard does to a skill. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import t from 'tap';
import { createProposalMetrics } from '../../../../init/proposals/metrics.ts';
import { Proposer } from '../../../../init/proposals/proposer.ts';
import { token } from '../../../init/fixture.ts';
import { startGitHubApi } from '../../../support/github-api.ts';
import { textAt } from '../../../support/github-git.ts';
import type { PullRequest } from '../../../support/github-pulls.ts';
import { startSyncedPod } from '../../../support/synced-pod.ts';
import { until } from '../../../support/until.ts';

const branch = 'berth/changes';
const files = {
  'CLAUDE.md': 'one\n',
  'settings.json': '{"permissions":{"allow":["Bash"]}}\n',
  'skills/a/SKILL.md': 'one\n',
};

t.test('changes of the CLI are proposed; a new skill takes effect after the merge', async (t) => {
  const { harbour, running, push } = await startSyncedPod(t, files);
  const { config } = running.surroundings;
  const { path } = harbour.repository;
  const opened: PullRequest[] = [];
  const pulls = { branches: [], git: path, opened };
  const api = await startGitHubApi({
    ...{ repository: 'me/claude', token, pulls, gitData: { path } },
  });
  t.teardown(() => api.close());
  const settings = {
    BERTH_CONFIG_DIR: config,
    BERTH_GITHUB_API_URL: api.url,
    BERTH_PROPOSE_CHANGES: 'true',
    BERTH_SYNC_INTERVAL: '1h',
  };
  const proposer = new Proposer({
    readConfig: () => harbour.config(settings),
    metrics: createProposalMetrics(new Registry()),
    log: harbour.log,
  });
  const pass = () => proposer.pass(AbortSignal.timeout(90_000));
  t.equal(await pass(), 'none');

  await running.prompt('[[say hello]]');
  // The folder of the working directory, in which the CLI has its transcripts and its memory.
  const [folder = ''] = readdirSync(join(config, 'projects'));
  t.match(folder, /^-[A-Za-z0-9-]+$/);
  const memory = `projects/${folder}/memory/MEMORY.md`;
  const script = join(running.surroundings.workspace, 'learn.sh');
  const lines = ['set -e', `cd '${config}'`, `mkdir -p projects/${folder}/memory skills/b`];
  lines.push(`echo 'Use tabs.' > ${memory}`, 'echo new > skills/b/SKILL.md');
  writeFileSync(script, lines.join('\n'));
  const command = JSON.stringify({ command: `sh '${script}'` });
  // The guard may end the process of this turn, so its answer proves nothing.
  await running.prompt(`[[tool Bash ${command}]]`);
  await running.log.logged('configuration_changed');
  await until('the skill is moved away', () => !existsSync(join(config, 'skills/b/SKILL.md')));
  t.equal(await pass(), 'opened');
  const proposed = `memory/${folder}/MEMORY.md`;
  t.equal(await textAt(path, branch, proposed), 'Use tabs.\n');
  t.equal(await textAt(path, branch, 'skills/b/SKILL.md'), 'new\n');

  Object.assign(opened[0] ?? {}, { state: 'closed', merged_at: '2026-11-29T12:00:00Z' });
  push({ [proposed]: 'Use tabs.\n', 'skills/b/SKILL.md': 'new\n' });
  await until('the skill is in effect', () => existsSync(join(config, 'skills/b/SKILL.md')));
  t.equal(readFileSync(join(config, memory), 'utf8'), 'Use tabs.\n');
  t.equal(await pass(), 'none');
});
