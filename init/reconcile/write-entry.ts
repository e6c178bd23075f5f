/**
 * Writes or removes one path of the tree on the volume.
 * Invariants: no symlink is followed. A file is complete or absent. A file in the way is moved to
 * conflicts/, unless it is berth's.
 */
import { randomBytes } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { lstat, rename, rm, rmdir, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemCode } from '../../shared/errors.ts';
import {
  inside,
  makeDirectories,
  obstructedParent,
  syncDirectory,
  unwritable,
} from '../../shared/files.ts';
import { openInside } from '../../shared/open-inside.ts';
import { forEachParallel } from '../../shared/parallel.ts';
import type { Aside } from '../../shared/set-aside.ts';
import type { LaidOut } from '../git/large-object.ts';
import type { TreeEntry } from '../git/tree.ts';
import { unsafeTarget } from '../volume/paths.ts';
import { type Status, statusOf } from './local-file.ts';
import { moveFile, replaceFile } from './replace-file.ts';

/**
 * Writes one file or symlink whose path is clear; a symlink only if its target is safe. The rename
 * is durable after `syncDirectories`.
 * @returns lstat data of the file; undefined for a symlink
 */
export async function writeEntry(
  root: string,
  path: string,
  entry: TreeEntry,
  content: Buffer,
): Promise<Status | undefined> {
  const full = inside(root, path);
  if (entry.mode !== '120000') {
    return statusOf(await replaceFile(full, content, permissions(entry)));
  }
  if (unsafeTarget(path, content.toString('utf8')) !== undefined) return undefined;
  const temporary = join(dirname(full), `.berth-${randomBytes(6).toString('hex')}.tmp`);
  await symlink(content, temporary);
  await rename(temporary, full);
  return undefined;
}

/**
 * The same with a file that already has the content.
 * @returns undefined if the content must be written after all; the source file is gone in both cases
 */
export async function moveEntry(
  root: string,
  path: string,
  entry: TreeEntry,
  file: LaidOut,
): Promise<Status | undefined> {
  const moved = await moveFile(file, inside(root, path), permissions(entry));
  return moved && statusOf(moved);
}

/**
 * Gives a regular file the permission bits of `entry`. Only the owner of a file may change them, so
 * another owner's file is replaced by a copy. A file that is gone by now is left to the next run.
 * @throws BerthError `volume_unwritable`
 */
export async function setMode(root: string, path: string, entry: TreeEntry): Promise<void> {
  const full = inside(root, path);
  const opened = await openInside(root, path).catch((error: unknown) => {
    throw unwritable(full, error);
  });
  if (!opened) return;
  const { file } = opened;
  try {
    await file.chmod(permissions(entry));
  } catch (error) {
    if (systemCode(error) !== 'EPERM') throw unwritable(full, error);
    await replaceFile(full, await file.readFile(), permissions(entry));
  } finally {
    await file.close();
  }
}

function permissions({ mode }: TreeEntry): number {
  return mode === '100755' ? 0o755 : 0o644;
}

/** Removes the file at `path`, into `aside` if given, and directories that become empty. */
export async function removeFile(
  root: string,
  path: string,
  aside: Aside | undefined,
): Promise<void> {
  const full = inside(root, path);
  if (aside) await aside.save(full, path);
  else await rm(full, { force: true });
  for (let parent = dirname(path); parent !== '.'; parent = dirname(parent)) {
    const gone = await rmdir(inside(root, parent)).then(
      () => true,
      () => false,
    );
    if (!gone) return;
  }
}

/**
 * Clears the path: moves away a parent that is not a directory, a directory at `path`, and with
 * `save` a file or anything else at `path`.
 */
export async function clearWay(
  root: string,
  path: string,
  save: boolean,
  aside: Aside,
): Promise<void> {
  if (isClear(root, path, save)) return;
  for (;;) {
    const obstruction = await obstructedParent(root, path);
    if (obstruction === undefined) break;
    await aside.save(inside(root, obstruction), obstruction);
  }
  const full = inside(root, path);
  const found = await lstat(full).catch((error) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (
    found?.isDirectory() &&
    (await rmdir(full).then(
      () => true,
      () => false,
    ))
  )
    return;
  if (found && (save || found.isDirectory())) await aside.save(full, path);
}

/** The usual case, checked synchronously; see `inspectFile` for the reason. */
function isClear(root: string, path: string, save: boolean): boolean {
  const parts = path.split('/');
  for (let depth = 1; depth < parts.length; depth++) {
    const parent = lstatSync(inside(root, parts.slice(0, depth).join('/')), ifThere);
    if (!parent) return true;
    if (!parent.isDirectory()) return false;
  }
  const found = lstatSync(inside(root, path), ifThere);
  return !found || (!save && !found.isDirectory());
}

const ifThere = { throwIfNoEntry: false } as const;

/** Creates the parent directories of all paths, which are clear. */
export async function makeParents(root: string, paths: readonly string[]): Promise<void> {
  for (const parent of new Set(paths.map((path) => dirname(path)))) {
    if (parent !== '.') await makeDirectories(inside(root, parent));
  }
}

/** Makes the renames in the parent directories of all paths survive a power cut. */
export async function syncDirectories(root: string, paths: readonly string[]): Promise<void> {
  const parents = [...new Set(paths.map((path) => dirname(path)))];
  await forEachParallel(parents, 16, new AbortController().signal, (parent) =>
    syncDirectory(join(root, parent)),
  );
}

/** Whether the content is a pointer of git LFS to a large file. */
export function isPointer(content: Buffer): boolean {
  return content.length < 1_024 && content.toString('latin1').startsWith(lfs);
}

const lfs = 'version https://git-lfs.github.com/spec/v1\n';
