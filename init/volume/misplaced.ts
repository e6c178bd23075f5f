/**
 * Checks whether the CLI reads any file of a commit, and otherwise finds the directories of the
 * repository with such files: a dotfiles repository without BERTH_REPO_PATH.
 * Invariants: only names are checked, so a file's content cannot cause a wrong warning. The result
 * is only reported; nothing else depends on it.
 */
import { printable } from '../../shared/printable.ts';
import type { Tree, TreeEntry } from '../git/tree.ts';
import { unsafePath } from './paths.ts';
import { volumePath } from './subdirectory.ts';

export interface Misplaced {
  /** Paths in the repository for BERTH_REPO_PATH, the most likely first; may be empty. */
  directories: string[];
  /** "<cause>; <remedy>", for a person. */
  message: string;
}

/**
 * Ends of paths that the CLI reads in its configuration directory; `rules/` and others at any
 * depth.
 */
const readByCli =
  /^(?:(.*?)\/)?(?:(CLAUDE\.md|settings\.json|\.config\.json)|(skills)\/[^/]+\/SKILL\.md|(agents|commands|output-styles|rules)\/.+\.md|(workflows)\/[^/]+\.m?js|(plugins)\/.+\.json)$/s;

/** Paths that may be a symlink to a directory. */
const linked =
  /^(?:(.*?)\/)?(skills|agents|commands|output-styles|rules|workflows|plugins)(?:\/[^/]+)?$/s;

/** Names that only the CLI uses; other programs also have, for example, a `settings.json`. */
const ownOfClaude = ['CLAUDE.md', 'skills/'];
const namedForClaude = /(^|\/)(\.|dot[-_.]?)?claude$/i;

const mostListed = 5;
const longestPath = 300;

/**
 * @param directory BERTH_REPO_PATH
 * @returns undefined if the CLI reads some file of the tree
 */
export function findMisplaced(tree: Tree, directory: string | null): Misplaced | undefined {
  const candidates = new Map<string, Set<string>>();
  for (const [path, entry] of tree) {
    const there = volumePath(path, directory);
    if (there !== undefined && markOf(there, entry)?.directory === '') return undefined;
    const mark = markOf(path, entry);
    if (mark === undefined || mark.directory === '' || mark.directory === directory) continue;
    const has = candidates.get(mark.directory) ?? new Set();
    candidates.set(mark.directory, has.add(mark.name));
  }
  const found = [...candidates].filter(isLikely);
  // Of nested candidates, such as a project's own `.claude`, the outer directory is meant.
  const outer = found.filter(([path]) => !found.some(([other]) => path.startsWith(`${other}/`)));
  const sorted = outer.sort(([a, has], [b, also]) => {
    const named = Number(namedForClaude.test(b)) - Number(namedForClaude.test(a));
    return named || also.size - has.size || depthOf(a) - depthOf(b) || (a < b ? -1 : 1);
  });
  const likeliest = sorted.slice(0, mostListed);
  const directories = likeliest.map(([path]) => path);
  return { directories, message: printable(describe(likeliest, directory)) };
}

function markOf(
  path: string,
  { mode }: TreeEntry,
): { directory: string; name: string } | undefined {
  if (mode === '160000') return undefined;
  const [, directory = '', file, ...names] =
    readByCli.exec(path) ?? (mode === '120000' ? linkedMark(path) : []);
  const name = file ?? names.find((one) => one !== undefined);
  if (name === undefined) return undefined;
  return { directory, name: file ?? `${name}/` };
}

function linkedMark(path: string): (string | undefined)[] {
  const [all, directory, name] = linked.exec(path) ?? [];
  return [all, directory, undefined, name];
}

function isLikely([path, has]: [string, Set<string>]): boolean {
  if (path.length > longestPath || unsafePath(path) !== undefined) return false;
  return namedForClaude.test(path) || has.size > 1 || ownOfClaude.some((name) => has.has(name));
}

function depthOf(path: string): number {
  return path.split('/').length;
}

function describe(found: [path: string, has: Set<string>][], directory: string | null): string {
  const what = directory === null ? 'the repository' : `${directory} of the repository`;
  const [first] = found;
  if (first === undefined) {
    return `the CLI reads nothing of ${what}: its root has no CLAUDE.md, no settings.json and no folder such as skills/; move them to the root, or set BERTH_REPO_PATH to the folder that contains them`;
  }
  const where = found.map(([path, has]) => `${path} (${[...has].sort().join(', ')})`).join(', ');
  const choice = found.length > 1 ? ', or to another of these' : '';
  return `the CLI reads nothing of ${what}, because it reads the root only, and the files that it would read are in ${where}; set BERTH_REPO_PATH=${first[0]}${choice}`;
}
