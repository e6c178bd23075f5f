/**
 * Moves files away without losing them: into `conflicts/`, which never expires, or into
 * `quarantine/`, which is bounded.
 * Invariants: a moved file keeps its content and its type (a symlink is moved, not followed).
 * Nothing that was moved before is replaced. A tool that replaces a directory by a symlink cannot
 * make a move copy a file from elsewhere.
 */
import { constants } from 'node:fs';
import {
  chmod,
  lstat,
  mkdir,
  open,
  readdir,
  readlink,
  rename,
  rm,
  symlink,
  utimes,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BerthError, systemCode } from './errors.ts';
import { inside, makeDirectories } from './files.ts';
import { copyOpenFile, openInside } from './open-inside.ts';

export interface Aside {
  /** Moves `from`, which ends with `relative`, away under the name `relative`; returns the new path. */
  save(from: string, relative: string): Promise<string>;
  /** The number of files that were moved. */
  readonly count: number;
}

/**
 * Creates a directory below `directory` at the first move, named by the time and `label`.
 * @param onMoved called after each move
 */
export function openAside(
  directory: string,
  label: string,
  onMoved: (path: string, saved: string) => void = () => undefined,
): Aside {
  const stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  let place: string | undefined;
  let count = 0;
  return {
    get count() {
      return count;
    },
    async save(from, relative) {
      place ??= await makePlace(directory, `${stamp}-${label}`);
      let to = inside(place, relative);
      try {
        await makeDirectories(dirname(to));
      } catch (error) {
        if (systemCode(error) !== 'EEXIST' && systemCode(error) !== 'ENOTDIR') throw error;
        // A path that was saved as a file before is a directory now.
        place = await makePlace(directory, `${stamp}-${label}`);
        to = inside(place, relative);
        await makeDirectories(dirname(to));
      }
      const wanted = to;
      for (let copy = 1; await exists(to); copy++) to = `${wanted}.${copy}`;
      await move(from, to, relative);
      count += 1;
      onMoved(relative, to);
      return to;
    },
  };
}

/** Creates a directory that did not exist. */
async function makePlace(directory: string, name: string): Promise<string> {
  await makeDirectories(directory);
  for (let copy = 1; ; copy++) {
    const place = join(directory, copy === 1 ? name : `${name}-${copy}`);
    try {
      await mkdir(place);
      return place;
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
    }
  }
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

/** Renames, or copies and deletes if the state is on another file system. */
async function move(from: string, to: string, relative: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (systemCode(error) !== 'EXDEV') throw error;
    try {
      await copy(from.slice(0, -relative.length - 1), relative, to);
      await syncAll(to);
    } catch (failure) {
      // An incomplete copy, made again at every start, would fill the disk.
      await rm(to, { recursive: true, force: true }).catch(() => undefined);
      throw failure;
    }
    await rm(from, { recursive: true, force: true });
  }
}

/** FIFOs, sockets and devices have no content to lose, and cannot be copied. */
async function copy(root: string, relative: string, to: string): Promise<void> {
  const from = `${root}/${relative}`;
  const status = await lstat(from);
  if (status.isSymbolicLink()) await symlink(await readlink(from), to);
  if (status.isFile()) await copyFile(root, relative, to);
  if (!status.isDirectory()) return;
  await mkdir(to, { mode: 0o700 });
  for (const name of await readdir(from)) {
    await copy(root, `${relative}/${name}`, join(to, name));
  }
  await chmod(to, status.mode & 0o777);
  await utimes(to, status.atime, status.mtime);
}

async function copyFile(root: string, relative: string, to: string): Promise<void> {
  const opened = await openInside(root, relative);
  if (!opened) {
    throw new BerthError(
      'volume_unwritable',
      `cannot move ${root}/${relative} to ${to}: the file was replaced meanwhile, or a directory above the file is a symlink or a mount; check which programs write there`,
    );
  }
  const { file, status } = opened;
  try {
    await copyOpenFile(opened, to, status.mode & 0o777);
  } finally {
    await file.close();
  }
  await utimes(to, status.atime, status.mtime);
}

/** Makes a copy survive a power cut, before its original is removed. */
async function syncAll(path: string): Promise<void> {
  const status = await lstat(path).catch(() => undefined);
  if (status?.isDirectory()) {
    for (const name of await readdir(path)) await syncAll(join(path, name));
  }
  if (status?.isDirectory() || status?.isFile()) {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    await file.sync().finally(() => file.close());
  }
}

/** Deletes all but the newest `keep` entries of the quarantine: its content can be fetched again. */
export async function boundQuarantine(directory: string, keep: number): Promise<void> {
  const names = await readdir(directory).catch(() => []);
  // Not by name: within a second, the name of a deleted entry is used again.
  const entries = await Promise.all(
    names.map(async (name) => {
      const status = await lstat(join(directory, name)).catch(() => undefined);
      return { name, movedAt: status?.mtimeMs ?? 0 };
    }),
  );
  entries.sort((a, b) => a.movedAt - b.movedAt);
  for (const { name } of entries.slice(0, Math.max(0, entries.length - keep))) {
    await rm(join(directory, name), { recursive: true, force: true });
  }
}
