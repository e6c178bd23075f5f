/**
 * The files of one mirror.
 * Invariants: nothing in a mirror is trusted but its objects. The configuration is written anew before each use, and
 * hooks, links to other objects and leftovers of a killed git are removed.
 */
import { copyFile, link, lstat, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectories } from '../../shared/files.ts';
import { writeGitDirectory } from './git-layout.ts';

/** The ref of the mirror that keeps a commit. */
export function refOf(commit: string): string {
  return `refs/berth/${commit}`;
}

/** Whether the mirror has a commit: git writes a ref after the objects that it names. */
export async function hasRef(directory: string, commit: string): Promise<boolean> {
  const text = await readFile(join(directory, refOf(commit)), 'utf8').catch(() => '');
  return text.trim() === commit;
}

/**
 * Creates the mirror if it is absent, and brings a mirror that exists into a state that berth knows.
 * @throws Error of the system
 */
export async function prepareMirror(directory: string): Promise<void> {
  await makeDirectories(directory, 0o700);
  if (!(await lstat(directory)).isDirectory()) throw new Error('it is a symlink');
  for (const name of ['hooks', 'worktrees', 'commondir', 'packed-refs', 'config.worktree']) {
    await rm(join(directory, name), { recursive: true, force: true });
  }
  for (const name of ['info', 'objects', 'objects/info', 'objects/pack', 'refs', 'refs/berth']) {
    const path = join(directory, name);
    const found = await lstat(path).catch(() => undefined);
    if (found && !found.isDirectory()) await rm(path, { force: true });
  }
  for (const name of ['alternates', 'http-alternates', 'commit-graph', 'grafts']) {
    await rm(join(directory, 'objects/info', name), { force: true });
    await rm(join(directory, 'info', name), { force: true });
  }
  // No other git works here, so each lock and each half of a pack was left by a git that was killed.
  for (const name of await readdir(directory)) {
    if (name.endsWith('.lock')) await rm(join(directory, name), { force: true });
  }
  await removeHalfPacks(directory);
  for (const name of await readdir(join(directory, 'refs/berth')).catch(() => [])) {
    if (name.endsWith('.lock')) await rm(join(directory, 'refs/berth', name), { force: true });
  }
  await writeGitDirectory(directory, { head: 'refs/heads/none', config: { core: { bare: true } } });
}

/** Removes what git has left of a fetch that did not end; call it while no git works there. @throws Error of the system */
export async function removeHalfPacks(directory: string): Promise<void> {
  const packs = join(directory, 'objects/pack');
  for (const name of await readdir(packs).catch(() => [])) {
    if (/^(tmp_|\.tmp-)|\.lock$/.test(name)) await rm(join(packs, name), { force: true });
  }
}

/** The depth of each commit that was fetched with one; `whole`: the mirror has all ancestors of its commits. */
export type History = ReadonlyMap<string, number> | 'whole';

/** How much of the history the mirror has; undefined before the first fetch has ended. */
export async function historyOf(directory: string): Promise<History | undefined> {
  const text = await readFile(join(directory, mark), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  if (!(await exists(join(directory, 'shallow')))) return 'whole';
  return depthsIn(text);
}

/** The commits whose parents the mirror does not have. Read it before a fetch, for `noteHistory`. */
export async function boundariesOf(directory: string): Promise<ReadonlySet<string>> {
  const text = await readFile(join(directory, 'shallow'), 'utf8').catch(() => '');
  return new Set(text.split('\n').filter((line) => line !== ''));
}

/** Call it before a fetch: one that ends early may have cut histories off already. @throws Error of the system */
export async function forgetDepths(directory: string): Promise<void> {
  await writeFile(join(directory, mark), '');
}

/**
 * Notes that a fetch has ended. A new boundary can lie in the history of any other commit: git cuts that history off there,
 * so the depths of the other commits are forgotten.
 * @param history before the fetch
 * @param depth of the commits; undefined: theirs has not become smaller
 * @param before the boundaries before the fetch
 * @throws Error of the system
 */
export async function noteHistory(
  directory: string,
  history: History | undefined,
  commits: readonly string[],
  depth: number | undefined,
  before: ReadonlySet<string>,
): Promise<void> {
  const depths = new Map(history === 'whole' ? [] : history);
  const isCut = [...(await boundariesOf(directory))].some((each) => !before.has(each));
  if (isCut) {
    for (const commit of depths.keys()) if (!commits.includes(commit)) depths.delete(commit);
  }
  for (const commit of commits) {
    if (depth === undefined) continue;
    // The newest come last: the oldest go.
    depths.delete(commit);
    depths.set(commit, depth);
  }
  const lines = [...depths].slice(-mostDepths).map(([commit, each]) => `${commit} ${each}\n`);
  await writeFile(join(directory, mark), lines.join(''));
}

/** Lines of commit and depth. Another text is that of an earlier version, which had one depth for all commits. */
function depthsIn(text: string): Map<string, number> {
  const found = text.matchAll(/^([0-9a-f]{40,64}) (\d+)$/gm);
  return new Map([...found].map(([, commit = '', depth]) => [commit, Number(depth)]));
}

const mark = 'berth-history';
const mostDepths = 200;

/**
 * Puts the objects of the mirror into a git directory. Hard links cost no space and no time; on a file system without
 * them the packs are copied.
 * @throws Error of the system
 */
export async function linkObjects(directory: string, target: string): Promise<void> {
  const from = join(directory, 'objects/pack');
  const names = (await readdir(from)).filter((name) => /^pack-[0-9a-f]{40}\.\w+$/.test(name));
  // git looks for indexes, so each index comes after its pack.
  names.sort((one, other) => Number(one.endsWith('.idx')) - Number(other.endsWith('.idx')));
  for (const name of names) {
    if (/\.(keep|promisor|bitmap)$/.test(name)) continue;
    const path = join(from, name);
    if (!(await lstat(path)).isFile()) continue;
    const copy = join(target, 'objects/pack', name);
    await link(path, copy).catch(() => copyFile(path, copy));
  }
  if (await exists(join(directory, 'shallow'))) {
    await copyFile(join(directory, 'shallow'), join(target, 'shallow'));
  }
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined))?.isFile() ?? false;
}
