/**
 * Pushes the commits of a session to a branch, and opens or updates its pull request, both through the gateway.
 * Invariants: a push is never forced. A second call with the same commits changes nothing and opens no second pull
 * request. The commits stay in the checkout, whatever fails.
 */
import { BerthError } from '../../shared/errors.ts';
import { printable } from '../../shared/printable.ts';
import type { GitEnd } from '../claude/git.ts';
import type { SessionWorkspace } from '../sessions/session-record.ts';
import type { GatewayClient } from './gateway-client.ts';
import { causeIn } from './git-failures.ts';
import type { SessionCommits } from './session-commits.ts';
import type { PublishRequest } from './workspace-request.ts';

export interface Publication {
  workspace: SessionWorkspace;
  wanted: PublishRequest;
  sessionId: string;
  /** The default body of the pull request. */
  result: string;
}

/** Characters of a body. */
const longestBody = 30_000;

/** The branch that a session pushes to if the caller names none. */
export function ownBranch(sessionId: string): string {
  return `berth/${sessionId.toLowerCase().slice(0, 13)}`;
}

/**
 * @param pushed is called when the branch has the commits
 * @returns the branch, and the URL of the pull request if there is one
 * @throws BerthError `publish_failed`, `publish_refused`
 */
export async function publishCommits(
  gateway: GatewayClient,
  commits: SessionCommits,
  { workspace, wanted, sessionId, result }: Publication,
  signal: AbortSignal,
  pushed: (branch: string) => void,
): Promise<Pick<SessionWorkspace, 'branch' | 'pull_request_url'>> {
  const branch = wanted.branch ?? workspace.branch ?? ownBranch(sessionId);
  await push(gateway.repositoryUrl(workspace.repo), commits, branch);
  pushed(branch);
  const { pull_request: pull } = wanted;
  if (!pull) {
    const kept = branch === workspace.branch ? workspace.pull_request_url : null;
    return { branch, pull_request_url: kept };
  }
  const { url } = await gateway.openPullRequest(
    {
      repository: workspace.repo,
      head: branch,
      title: pull.title ?? ((await commits.subject()).slice(0, 250) || 'Changes by berth'),
      body: pull.body ?? result.slice(0, longestBody),
      ...withBase(pull.base ?? workspace.base_branch, branch),
      ...(pull.draft ? { draft: true } : {}),
    },
    signal,
  );
  return { branch, pull_request_url: url };
}

/** A branch cannot go into itself. */
function withBase(base: string | null, branch: string): { base?: string } {
  return base === null || base === branch ? {} : { base };
}

async function push(url: string, commits: SessionCommits, branch: string): Promise<void> {
  const refspec = `${commits.head}:refs/heads/${branch}`;
  const end = await commits.run([
    'push',
    '--porcelain',
    '--no-verify',
    '--no-signed',
    url,
    refspec,
  ]);
  if (end.code !== 0) throw refusalOf(branch, end);
}

function refusalOf(branch: string, end: GitEnd): BerthError {
  const line = /^!\t[^\t]*\t(.*)$/m.exec(end.stdout)?.[1];
  const moved = /\[rejected\]|non-fast-forward|fetch first|does not descend/.test(line ?? '');
  const cause = line === undefined ? causeIn(end) : printable(line).slice(0, 600);
  const passes = /try again later|within .*; raise|returned error: 5/.test(
    `${cause} ${end.stderr}`,
  );
  const rule = line !== undefined || /returned error: 4|does not list it/.test(end.stderr);
  const what = `cannot push to ${branch}`;
  if (moved && !passes) {
    const text = `${what}: the branch has commits that the session does not have (${cause}); set another "publish.branch", or let the session merge the branch`;
    return new BerthError('publish_refused', text);
  }
  if (rule && !passes) {
    const remedy = 'see the rules of pushes in docs/gateway.md';
    return new BerthError('publish_refused', `${what}: ${cause}; ${remedy}`);
  }
  const remedy = 'the commits are kept in the checkout; publish again when the server answers';
  return new BerthError('publish_failed', `${what}: ${cause}; ${remedy}`);
}
