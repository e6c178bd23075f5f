/**
 * Builds the note about the checkout, which follows the text of the prompt once.
 * Invariant: the note has no text that a stranger may have written, except the instructions of the repository, if the
 * profile lets them in; those of a pull request are the ones of its base, so that a change cannot instruct its
 * reviewer. A commit or a tag gives no instructions: a git server also has the commits of strangers' pull requests.
 */
import { join } from 'node:path';
import { readFileBounded } from '../../shared/files.ts';
import type { Git } from '../claude/git.ts';
import type { SessionWorkspace } from '../sessions/session-record.ts';

/** Bytes. */
const longestInstructions = 64 * 1024;

export function noteFor(
  { repo, commit, checked_out, pull_request, base, path }: SessionWorkspace,
  {
    remade,
    copied,
    instructions,
  }: { remade: boolean; copied: boolean; instructions: string | undefined },
): string {
  const branch = checked_out === null ? 'a detached HEAD' : `the branch ${checked_out}`;
  const place = `checkout of ${repo} at the commit ${commit}, on ${branch}`;
  const lines = [
    remade
      ? `The working directory was lost. It is a new ${place}; changes that were not published are gone.`
      : copied
        ? `This conversation is a copy. The working directory is a new ${place}; changes that were not published before are not in it.`
        : `The working directory is a ${place}.`,
    ...(pull_request === null ? [] : [changeOf(pull_request, base)]),
    ...(path === null ? [] : [`Only the folder ${path}, and the files above it, are checked out.`]),
    ...(instructions === undefined
      ? []
      : [`<repository_instructions>\n${instructions}\n</repository_instructions>`]),
  ];
  return `\n\n${lines.join('\n')}`;
}

function changeOf(number: number, base: string | null): string {
  return base === null
    ? `It is the head of the pull request ${number}, which has no common commit with its base.`
    : `It is the head of the pull request ${number}; "git diff berth/base" shows its change.`;
}

/**
 * The CLAUDE.md of the repository; undefined if there is none. Call it before anything else has worked in the checkout.
 */
export async function instructionsIn(
  git: Git,
  directory: string,
  { base, checked_out, pull_request, start }: SessionWorkspace,
  signal: AbortSignal,
): Promise<string | undefined> {
  const ofBranch = checked_out === null ? null : start;
  const trusted = pull_request === null ? ofBranch : base;
  if (trusted === null) return undefined;
  const run = (args: readonly string[]) =>
    git({
      ...{ arguments: args, workingDirectory: directory, signal },
      environment: { GIT_DIR: join(directory, '.git') },
    });
  for (const path of ['CLAUDE.md', '.claude/CLAUDE.md']) {
    const listed = await run(['ls-tree', '--full-tree', '-l', trusted, '--', path]);
    // Mode, type, id and size; a symlink is no instruction.
    const [, id, size] = /^100\d+ blob (\w+) +(\d+)\t/.exec(listed.stdout) ?? [];
    if (id === undefined || Number(size) > longestInstructions) continue;
    const { code, stdout } = await run(['cat-file', 'blob', id]);
    if (code === 0 && stdout.trim() !== '') return stdout;
  }
  return undefined;
}

/** Warnings about files whose content is not in the repository; files in folders are not checked. */
export async function warningsFor(directory: string): Promise<string[]> {
  const read = (name: string) =>
    readFileBounded(join(directory, name), largestAttributes).catch(() => undefined);
  const [attributes, modules] = await Promise.all([read('.gitattributes'), read('.gitmodules')]);
  return [
    ...(attributes?.includes('filter=lfs')
      ? ['the repository uses Git LFS: the checkout has pointers instead of these files']
      : []),
    ...(modules ? ['the repository has submodules: their folders are empty in the checkout'] : []),
  ];
}

/** Bytes. */
const largestAttributes = 1024 * 1024;
