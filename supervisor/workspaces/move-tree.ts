/** Moves a checkout that belongs to no session into the directory of a session. */
import { readdir, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { digestOf } from '../../shared/digest.ts';

/** A whole checkout that belongs to no session. */
export interface SpareTree {
  directory: string;
  commit: string;
  /** Of its index. */
  digest: string;
}

/**
 * Moves the files of the tree into a directory, and its index into a git directory; never rejects. What is not moved is
 * written by git.
 * @param without names that are not moved
 */
export async function moveTree(
  { directory, digest }: SpareTree,
  into: string,
  gitDirectory: string,
  without: readonly string[],
): Promise<void> {
  try {
    const source = join(directory, '.git/index');
    const [index, { atime, mtime }] = [await readFile(source), await stat(source)];
    if (digestOf(index) !== digest) return;
    const stays = new Set(['.git', ...without]);
    for (const name of await readdir(directory)) {
      if (!stays.has(name)) await rename(join(directory, name), join(into, name));
    }
    const target = join(gitDirectory, 'index');
    await writeFile(target, index);
    // A file that was written at the time of the index may have changed since: git compares its content.
    await utimes(target, atime, mtime);
  } catch {
    // git writes what is missing.
  }
}
