/**
 * Room on the volume that is kept for berth itself: files in `.berth/reserve/`, deleted when the volume
 * is full, so that a lease, a pause, a record or a refreshed login can still be written.
 * Always holds: it is of one piece, there or not; deleting it needs no room; nothing in it is ever read.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const name = 'reserve';
/** Files beside the large one: a volume can be out of inodes as well. */
const files = 32;
/** Below this a volume is used up: bytes, and inodes where it has a number of them. */
const leastBytes = 1024 * 1024;
const leastFiles = 16;
const piece = 1024 * 1024;

/** Of this process: what writes on the volume asks for it when there is no room. */
let current: string | undefined;

/** Whether nearly nothing can be written at `path`; false where that cannot be known. */
export function isUsedUp(path: string): boolean {
  try {
    const { bsize, bavail, files, ffree } = statfsSync(path);
    return bavail * bsize < leastBytes || (files > 0 && ffree < leastFiles);
  } catch {
    return false;
  }
}

/**
 * Says where the reserve of this process is. If the volume is used up, deletes it, and where there is none
 * the quarantine, whose content can be fetched again: without any room not even a lease can be written.
 */
export function openReserve(stateDirectory: string): void {
  current = join(stateDirectory, name);
  if (!isUsedUp(stateDirectory) || releaseReserve()) return;
  rmSync(join(stateDirectory, 'quarantine'), { recursive: true, force: true });
}

export function hasReserve(): boolean {
  return current !== undefined && existsSync(current);
}

/** @returns whether there was one: then what failed for want of room may be tried again */
export function releaseReserve(): boolean {
  if (current === undefined || !existsSync(current)) return false;
  rmSync(current, { recursive: true, force: true });
  return true;
}

/** Makes it if it is not there; leaves nothing if there is no room after all. */
export function makeReserve(bytes: number): void {
  if (current === undefined || bytes === 0 || existsSync(current)) return;
  const temporary = `${current}.tmp`;
  try {
    rmSync(temporary, { recursive: true, force: true });
    mkdirSync(temporary, { mode: 0o700 });
    for (let file = 0; file < files; file++) writeFileSync(join(temporary, `${file}`), '');
    for (let at = 0; at < bytes; at += piece) {
      // No zeros: a file system may compress them to nothing.
      const content = randomBytes(Math.min(piece, bytes - at));
      writeFileSync(join(temporary, 'room'), content, { flag: 'a' });
    }
    renameSync(temporary, current);
  } catch {
    rmSync(temporary, { recursive: true, force: true });
  }
}
