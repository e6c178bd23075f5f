/**
 * Disk space on the volume that is reserved for berth: files in `.berth/reserve/`. The reserve is
 * deleted when the volume is full, so that a lease, a pause, a record or a refreshed login can
 * still be written.
 * Invariants: the reserve exists completely or not at all. Deleting it needs no space. Its content
 * is never read.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const name = 'reserve';
/** The number of files beside the large file: a volume can also run out of inodes. */
const files = 32;
/**
 * Below these values a volume counts as full: bytes, and inodes if the file system has a limit of
 * inodes.
 */
const leastBytes = 1024 * 1024;
const leastFiles = 16;
const piece = 1024 * 1024;

/** The reserve of this process: writers on the volume release it when there is no space. */
let current: string | undefined;

/** Whether nearly nothing can be written at `path`; false if that is unknown. */
export function isUsedUp(path: string): boolean {
  try {
    const { bsize, bavail, files, ffree } = statfsSync(path);
    return bavail * bsize < leastBytes || (files > 0 && ffree < leastFiles);
  } catch {
    return false;
  }
}

/**
 * Sets the reserve of this process. If the volume is full, the reserve is deleted, or, without a
 * reserve, the quarantine, whose content can be fetched again: a lease needs some space.
 */
export function openReserve(stateDirectory: string): void {
  current = join(stateDirectory, name);
  if (!isUsedUp(stateDirectory) || releaseReserve()) return;
  rmSync(join(stateDirectory, 'quarantine'), { recursive: true, force: true });
}

export function hasReserve(): boolean {
  return current !== undefined && existsSync(current);
}

/**
 * Never throws: the kernel may have made the volume read-only.
 * @returns whether a reserve was deleted: then a write that failed for lack of space may be retried
 */
export function releaseReserve(): boolean {
  return current !== undefined && existsSync(current) && remove(current);
}

/** Creates the reserve if it is absent; leaves nothing behind if there is not enough space. */
export function makeReserve(bytes: number): void {
  if (current === undefined || bytes === 0 || existsSync(current)) return;
  const temporary = `${current}.tmp`;
  try {
    rmSync(temporary, { recursive: true, force: true });
    mkdirSync(temporary, { mode: 0o700 });
    for (let file = 0; file < files; file++) writeFileSync(join(temporary, `${file}`), '');
    for (let at = 0; at < bytes; at += piece) {
      // Not zeros: a file system may compress zeros to nothing.
      const content = randomBytes(Math.min(piece, bytes - at));
      writeFileSync(join(temporary, 'room'), content, { flag: 'a' });
    }
    renameSync(temporary, current);
  } catch {
    remove(temporary);
  }
}

function remove(path: string): boolean {
  try {
    rmSync(path, { recursive: true, force: true });
    return true;
  } catch {
    return false;
  }
}
