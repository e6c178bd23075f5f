/**
 * A volume with a real repository behind a real git server and the stand-in for GitHub's API, and the
 * programs that keep the volume current and propose its changes, within this process.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Registry } from 'prom-client';
import type { Test } from 'tap';
import type { InitConfig } from '../../../init/config.ts';
import { createProposalMetrics } from '../../../init/proposals/metrics.ts';
import { Proposer } from '../../../init/proposals/proposer.ts';
import { type GitHubApiOptions, startGitHubApi } from '../../support/github-api.ts';
import { type GitData, textAt, tipOf } from '../../support/github-git.ts';
import type { PullRequest, PullRequests } from '../../support/github-pulls.ts';
import type { FileSpec } from '../../support/repository.ts';
import { openHarbour, token } from '../fixture.ts';

export const branch = 'berth/changes';

export async function openProposals(
  t: Test,
  files: Record<string, FileSpec>,
  {
    settings = {},
    api: given = {},
  }: {
    settings?: Record<string, string>;
    api?: Partial<GitHubApiOptions>;
  } = {},
) {
  const harbour = await openHarbour(t, files);
  const { path } = harbour.repository;
  const opened: PullRequest[] = [];
  const pulls: PullRequests = { branches: [], git: path, opened };
  const gitData: GitData = { path };
  const api = await startGitHubApi({
    repository: 'me/claude',
    token,
    ...{ pulls, gitData, ...given },
  });
  t.teardown(() => api.close());
  const overrides = {
    BERTH_GITHUB_API_URL: api.url,
    BERTH_PROPOSE_CHANGES: 'true',
    BERTH_SYNC_INTERVAL: '1h',
    ...settings,
  };
  const registry = new Registry();
  const metrics = createProposalMetrics(registry);
  const withConfig = (readConfig: () => InitConfig) =>
    new Proposer({ readConfig, metrics, log: harbour.log });
  const again = () => withConfig(() => harbour.config(overrides));
  const proposer = again();
  await harbour.run(overrides);
  const pass = (one = proposer) => one.pass(AbortSignal.timeout(90_000));
  // From now on, saved copies count.
  await pass();
  const write = (file: string, content: string | Buffer) => {
    mkdirSync(dirname(join(harbour.volume, file)), { recursive: true });
    writeFileSync(join(harbour.volume, file), content);
  };
  /** Ends the newest pull request, merged with these files of the default branch, or declined. */
  const end = (merged?: Record<string, FileSpec>) => {
    const pull = opened.at(-1) as PullRequest;
    Object.assign(pull, { last: tipOf(path, branch), state: 'closed' });
    if (!merged) return;
    pull.merged_at = '2026-11-29T12:00:00Z';
    harbour.repository.commit(merged);
  };
  const proposed = (file: string) => textAt(path, branch, file);
  return {
    ...harbour,
    ...{ api, gitData, pulls, opened, registry, proposer, pass, write, end, proposed },
    withConfig,
    /** A new program, as after a restart of the pod. */
    again,
    run: () => harbour.run(overrides),
    /** What the token may do. */
    restrict: (contents: 'read' | 'write', pullRequests: 'read' | 'write') => {
      gitData.access = contents;
      pulls.access = pullRequests;
    },
  };
}
