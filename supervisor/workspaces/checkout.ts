/**
 * Makes a checkout from a mirror, and fills the working directory of a session with it.
 * Invariants: the `.git` of a checkout that is not complete has a mark, so that a checkout that was cut is recognised
 * and made again. The working directory itself stays the same: a process may run in it.
 */
import { randomBytes } from 'node:crypto';
import { lstat, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError, messageOf, systemCode } from '../../shared/errors.ts';
import { makeDirectories } from '../../shared/files.ts';
import { removeTree } from '../../shared/remove-tree.ts';
import type { Git } from '../claude/git.ts';
import { failureOf, isNoSpace } from './git-failures.ts';
import { coneOf, writeGitDirectory } from './git-layout.ts';
import { DamagedMirror } from './mirror.ts';
import type { Mirrors, OpenMirror } from './mirrors.ts';
import { moveTree, type SpareTree } from './move-tree.ts';
import type { Target } from './remote-refs.ts';
import type { WorkspaceRequest } from './workspace-request.ts';

/** The ref of the merge base of a pull request; `git diff berth/base` shows the change. */
const baseRef = 'refs/berth/base';

/** In `.git` while the checkout is not complete. */
const incomplete = 'berth-incomplete';

export interface Author {
  name: string;
  email: string;
}

export interface CheckoutRequest {
  wanted: WorkspaceRequest;
  target: Target;
  author: Author;
  /** The URL of the remote `origin`. */
  url: string;
  signal: AbortSignal;
}

/** A `.git` that waits for its working directory. */
export interface StagedCheckout {
  /** The git directory. */
  path: string;
  commit: string;
  /** The merge base of the pull request; null if there is none. */
  base: string | null;
  fetched: boolean;
}

/** @throws BerthError `workspace_*`, `disk_full`, `volume_unwritable` */
export async function stageCheckout(
  mirrors: Mirrors,
  staging: string,
  { wanted, target, author, url, signal }: CheckoutRequest,
): Promise<StagedCheckout> {
  const { repo, depth, path } = wanted;
  const { commit, into } = target;
  const commits = into === null ? [commit] : [commit, into];
  return mirrors.use({ repo, commits, depth, signal }, async (mirror) => {
    if (path !== undefined) await assertFolder(mirror, commit, path, repo);
    const base = into === null ? null : await mergeBase(mirror, into, commit);
    const directory = join(staging, randomBytes(12).toString('hex'));
    try {
      await makeDirectories(staging, 0o700);
      await writeGitDirectory(directory, layoutOf(wanted, target, base, author, url));
      await writeFile(join(directory, incomplete), '');
      await mirror.linkInto(directory);
      // A caller that has left does not get the directory, so nobody else would remove it.
      signal.throwIfAborted();
    } catch (error) {
      await removeTree(directory).catch(() => undefined);
      signal.throwIfAborted();
      throw unwritable(directory, error);
    }
    return { path: directory, commit, base, fetched: mirror.fetched };
  });
}

function layoutOf(
  { path }: WorkspaceRequest,
  { commit, branch, baseBranch }: Target,
  base: string | null,
  author: Author,
  url: string,
) {
  const head = branch === null ? commit : `refs/heads/${branch}`;
  const tracked = branch !== null && !branch.startsWith('pull-') ? branch : baseBranch;
  return {
    head,
    refs: {
      ...(branch === null ? {} : { [`refs/heads/${branch}`]: commit }),
      ...(branch !== null && branch === tracked
        ? { [`refs/remotes/origin/${branch}`]: commit }
        : {}),
      ...(base === null ? {} : { [baseRef]: base }),
    },
    config: {
      core: {
        logallrefupdates: true,
        ...(path === undefined ? {} : { sparseCheckout: true, sparseCheckoutCone: true }),
      },
      'remote "origin"': { url, fetch: '+refs/heads/*:refs/remotes/origin/*' },
      user: { name: author.name, email: author.email },
    },
    info: {
      // What berth itself puts there is not part of the repository.
      exclude: privateFolders.map((name) => `/${name}/`),
      ...(path === undefined ? {} : { 'sparse-checkout': coneOf(path) }),
    },
  };
}

/** Folders of the working directory that are never committed by berth. */
export const privateFolders = ['attachments'];

/**
 * Fills the directory, whose content is removed first: `.git` last and at once, so that its mark stays until then.
 * @param tree files that were checked out before; git writes those that differ
 * @throws BerthError; then the directory has a mark, or nothing
 */
export async function fillDirectory(
  git: Git,
  directory: string,
  { path, commit }: Pick<StagedCheckout, 'path' | 'commit'>,
  signal: AbortSignal,
  tree?: SpareTree,
): Promise<void> {
  const gitDirectory = join(directory, '.git');
  const earlier = `${path}.earlier`;
  try {
    const names = await readdir(directory);
    for (const name of names) {
      // Attachments of the prompt may be there already.
      const stays = name === '.git' || privateFolders.includes(name);
      if (!stays) await removeTree(join(directory, name));
    }
    if (names.includes('.git')) await rename(gitDirectory, earlier);
    await removeTree(earlier);
    await makeDirectories(directory, 0o700);
    if (tree && (await hasSameAttributes(git, path, tree.commit, commit, signal))) {
      await moveTree(tree, directory, path, privateFolders);
    }
    await rename(path, gitDirectory);
  } catch (error) {
    await removeTree(path).catch(() => undefined);
    throw unwritable(directory, error);
  } finally {
    if (tree) void removeTree(tree.directory).catch(() => undefined);
  }
  const run = async (args: readonly string[]): Promise<void> => {
    const end = await git({
      arguments: args,
      environment: { GIT_DIR: gitDirectory, GIT_WORK_TREE: directory },
      workingDirectory: directory,
      config: { 'checkout.workers': '0', 'checkout.thresholdForParallelism': '500' },
      signal,
      timeout: 15 * 60_000,
    });
    if (end.code !== 0) throw failureOf(`check the commit ${commit} out`, end);
  };
  await run(['read-tree', '--reset', '-u', 'HEAD']);
  const own = privateFolders.flatMap((name) => ['-e', `/${name}/`]);
  if (tree) await run(['clean', '-ffdxq', ...own]);
  await rm(join(gitDirectory, incomplete), { force: true });
}

/** Whether git writes a file that is in both commits in the same way. */
async function hasSameAttributes(
  git: Git,
  gitDirectory: string,
  before: string,
  after: string,
  signal: AbortSignal,
): Promise<boolean> {
  if (before === after) return true;
  const end = await git({
    arguments: ['diff-tree', '-r', '--name-only', before, after, '--', ':(glob)**/.gitattributes'],
    environment: { GIT_DIR: gitDirectory },
    workingDirectory: gitDirectory,
    signal,
  });
  return end.code === 0 && end.stdout === '';
}

/**
 * What is in the working directory of a session: `none` if the directory is absent, empty, or has a checkout that was
 * cut; `foreign` if there are files and no git directory.
 */
export async function stateOf(directory: string): Promise<'complete' | 'none' | 'foreign'> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw unwritable(directory, error);
  });
  const own = names.filter((name) => !privateFolders.includes(name));
  if (own.length === 0) return 'none';
  const found = await lstat(join(directory, '.git')).catch(() => undefined);
  if (!found?.isDirectory()) return 'foreign';
  const cut = await lstat(join(directory, '.git', incomplete)).catch(() => undefined);
  return cut ? 'none' : 'complete';
}

async function assertFolder(
  { git }: OpenMirror,
  commit: string,
  path: string,
  repo: string,
): Promise<void> {
  const end = await git(['cat-file', '-t', `${commit}:${path}`]);
  if (end.code === 0 && end.stdout.trim() === 'tree') return;
  throw new BerthError(
    'workspace_not_found',
    `cannot check ${repo} out: the commit ${commit.slice(0, 12)} has no folder ${path}; correct "path", or omit it`,
  );
}

/** More of the history of a shallow mirror is fetched until the merge base is there. Null if there is none. */
async function mergeBase(mirror: OpenMirror, into: string, commit: string): Promise<string | null> {
  for (;;) {
    const end = await mirror.git(['merge-base', into, commit]);
    if (end.code === 0) return end.stdout.trim();
    if (end.code !== 1) throw new DamagedMirror(failureOf('find the merge base', end));
    if (!(await mirror.deepen())) return null;
  }
}

function unwritable(path: string, error: unknown): BerthError {
  if (error instanceof BerthError) return error;
  return new BerthError(
    isNoSpace(error) ? 'disk_full' : 'volume_unwritable',
    `cannot make a checkout in ${path}: ${messageOf(error)}; check the owner and the space of BERTH_WORKSPACE_DIR`,
    { cause: error },
  );
}
