/**
 * Finds out which commit a workspace begins with, by the refs of the git server.
 * Invariants: a name that is both a branch and a tag means the branch. The server names its default branch: a name that
 * berth would not take from a caller is not used, because names of refs become paths.
 */
import { BerthError } from '../../shared/errors.ts';
import type { Git } from '../claude/git.ts';
import type { GatewayClient } from './gateway-client.ts';
import { failureOf } from './git-failures.ts';
import { isCommitId, isRefName, type WorkspaceRequest } from './workspace-request.ts';

/** The commits that a checkout needs. */
export interface Target {
  /** Whole ids. */
  commit: string;
  /** The branch that the session's HEAD names; null: HEAD is detached. */
  branch: string | null;
  /** The newest commit of the branch into which a pull request goes; null for anything else. */
  into: string | null;
  /** The branch that a pull request of the session's commits should go into; null: the default branch. */
  baseBranch: string | null;
}

export interface RemoteOptions {
  git: Git;
  gateway: GatewayClient;
  signal: AbortSignal;
}

/** @throws BerthError `workspace_not_found`, `workspace_refused`, `workspace_unavailable` */
export async function findTarget(
  { repo, ref, pull_request: number }: WorkspaceRequest,
  options: RemoteOptions,
): Promise<Target> {
  if (number !== undefined) return findPullRequest(repo, number, options);
  if (ref !== undefined && isCommitId(ref)) return { ...plain, commit: ref };
  const names =
    ref === undefined ? ['HEAD'] : [`refs/heads/${ref}`, `refs/tags/${ref}`, `refs/tags/${ref}^{}`];
  const { refs, head } = await listRefs(repo, names, options);
  if (ref === undefined) {
    const commit = refs.get('HEAD');
    if (commit !== undefined) {
      const branch = head !== undefined && isRefName(head) ? head : null;
      return { ...plain, commit, branch };
    }
    throw absent(repo, 'it is empty', 'push a first commit');
  }
  const branch = refs.get(`refs/heads/${ref}`);
  if (branch !== undefined) return { ...plain, commit: branch, branch: ref, baseBranch: ref };
  const tag = refs.get(`refs/tags/${ref}^{}`) ?? refs.get(`refs/tags/${ref}`);
  if (tag !== undefined) return { ...plain, commit: tag };
  throw absent(repo, `it has no branch and no tag ${ref}`, 'correct "ref", or omit it');
}

/** @returns the last commit of a branch; undefined if there is no such branch. @throws BerthError */
export async function tipOf(
  repo: string,
  branch: string,
  options: RemoteOptions,
): Promise<string | undefined> {
  const name = `refs/heads/${branch}`;
  return (await listRefs(repo, [name], options)).refs.get(name);
}

const plain = { branch: null, into: null, baseBranch: null } as const;

async function findPullRequest(
  repo: string,
  number: number,
  options: RemoteOptions,
): Promise<Target> {
  const pull = await options.gateway.readPullRequest(repo, number, options.signal);
  const head = `refs/pull/${number}/head`;
  const merge = `refs/merge-requests/${number}/head`;
  const base = pull === undefined ? 'HEAD' : `refs/heads/${pull.base.branch}`;
  const { refs } = await listRefs(repo, [head, merge, base], options);
  const commit = refs.get(head) ?? refs.get(merge);
  if (commit === undefined) {
    throw absent(repo, `it has no pull request ${number}`, 'correct "pull_request"');
  }
  const own = pull?.head.repository?.toLowerCase() === pathOf(repo).toLowerCase();
  return {
    commit,
    branch: `pull-${number}`,
    // Null if the branch of the base was deleted.
    into: refs.get(base) ?? null,
    baseBranch: (own ? pull?.head.branch : pull?.base.branch) ?? null,
  };
}

/** Without the host. */
function pathOf(repo: string): string {
  const [host = '', ...rest] = repo.split('/');
  return rest.length > 1 && host.includes('.') ? rest.join('/') : repo;
}

async function listRefs(
  repo: string,
  names: readonly string[],
  { git, gateway, signal }: RemoteOptions,
): Promise<{ refs: Map<string, string>; head: string | undefined }> {
  const end = await git({
    arguments: ['ls-remote', '--quiet', '--symref', gateway.repositoryUrl(repo), ...names],
    workingDirectory: '/',
    signal,
  });
  if (end.code !== 0) throw failureOf(`read the refs of ${repo}`, end);
  const lines = end.stdout.split('\n').map((line) => line.split('\t'));
  const refs = new Map(
    lines.flatMap(([id = '', name]) => (name && isCommitId(id) ? [[name, id]] : [])),
  );
  const symref = lines.find(([value, name]) => value?.startsWith('ref: ') && name === 'HEAD');
  return { refs, head: symref?.[0]?.replace(/^ref: refs\/heads\//, '') };
}

function absent(repo: string, cause: string, remedy: string): BerthError {
  return new BerthError('workspace_not_found', `cannot check ${repo} out: ${cause}; ${remedy}`);
}
