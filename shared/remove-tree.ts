/**
 * Removes a file or a directory with its content, including read-only content.
 * Invariants: a symlink is removed, never followed. An absent path is no error.
 */
import { chmod, lstat, opendir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from './errors.ts';

/** @throws Error of the system if a part of the tree cannot be removed */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    if (systemCode(error) !== 'EACCES' && systemCode(error) !== 'EPERM') throw error;
    await open(path);
    await rm(path, { recursive: true, force: true });
  }
}

/**
 * Makes the directories of the tree writable for their owner: a file is removed with the permission
 * of its directory.
 */
async function open(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (!found?.isDirectory()) return;
  await chmod(path, 0o700).catch(() => undefined);
  for await (const entry of await opendir(path)) {
    if (entry.isDirectory()) await open(join(path, entry.name));
  }
}

/**
 * Bytes on disk of a file or of a tree, without following symlinks; 0 if nothing exists. Unreadable
 * parts count as 0. A file with several names (hard links) counts by its share, so that the sum over all its trees is
 * right. A tree that is removed meanwhile is no error.
 * @param links `whole`: a file with several names counts in full
 */
export async function sizeOfTree(
  path: string,
  signal?: AbortSignal,
  links: 'shared' | 'whole' = 'shared',
): Promise<number> {
  signal?.throwIfAborted();
  const found = await lstat(path).catch(() => undefined);
  if (!found) return 0;
  const own = found.blocks * 512;
  const names = links === 'whole' ? 1 : Math.max(1, found.nlink);
  if (!found.isDirectory()) return Math.ceil(own / names);
  let total = own;
  try {
    for await (const entry of await opendir(path)) {
      total += await sizeOfTree(join(path, entry.name), signal, links);
    }
  } catch {
    signal?.throwIfAborted();
  }
  return total;
}
