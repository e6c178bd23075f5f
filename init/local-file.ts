/**
 * What lies at a path of the volume, told without following any symlink: its type, its git blob id
 * and whether it is damaged. Content is read in pieces, so a huge file costs no memory.
 */
import { createHash } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { lstat, open, readlink } from 'node:fs/promises';
import { systemCode } from '../shared/errors.ts';
import { inside, obstructedParent } from '../shared/files.ts';
import { objectId } from './git-directory.ts';
import type { RecordedEntry } from './record.ts';

export interface LocalFile {
  kind: 'file';
  oid: string;
  executable: boolean;
  /** Empty, or nothing but NUL: what a crash of a node leaves. */
  damaged: boolean;
  status: Status;
}

export type Local =
  | { kind: 'missing' }
  | LocalFile
  | { kind: 'symlink'; oid: string }
  | { kind: 'directory' }
  /** A device, a FIFO, a socket, or a file that may not be read. */
  | { kind: 'special' };

/** What is remembered of a file to see later, without reading it, that nobody wrote it. */
export interface Status {
  size: number;
  mtime: number;
  inode: number;
}

export function statusOf({ size, mtimeMs, ino }: Stats): Status {
  return { size, mtime: mtimeMs, inode: ino };
}

/**
 * @param recorded berth's own record of the file, taken for its content if lstat still says the same;
 *   absent where the record must not be trusted
 */
export async function lookAt(
  root: string,
  path: string,
  recorded: RecordedEntry | undefined,
): Promise<Local> {
  // Behind a symlink or a file lies nothing of ours.
  if ((await obstructedParent(root, path)) !== undefined) return { kind: 'missing' };
  const full = inside(root, path);
  let found: Stats;
  try {
    found = await lstat(full);
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') {
      return { kind: 'missing' };
    }
    throw error;
  }
  if (found.isDirectory()) return { kind: 'directory' };
  if (found.isSymbolicLink()) {
    return { kind: 'symlink', oid: objectId('blob', await readlink(full, { encoding: 'buffer' })) };
  }
  if (!found.isFile()) return { kind: 'special' };
  const status = statusOf(found);
  const executable = (found.mode & 0o100) !== 0;
  if (recorded && isUntouched(status, recorded)) {
    return { kind: 'file', oid: recorded.oid, executable, damaged: false, status };
  }
  const content = await hash(full);
  return content ? { kind: 'file', executable, status, ...content } : { kind: 'special' };
}

function isUntouched(status: Status, recorded: RecordedEntry): boolean {
  return (
    recorded.mode !== '120000' &&
    status.size === recorded.size &&
    status.mtime === recorded.mtime &&
    status.inode === recorded.inode
  );
}

const piece = 256 * 1024;

async function hash(path: string): Promise<{ oid: string; damaged: boolean } | undefined> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(path, flags).catch((error) => {
    if (systemCode(error) === 'EACCES' || systemCode(error) === 'ELOOP') return undefined;
    throw error;
  });
  if (!file) return undefined;
  try {
    const { size } = await file.stat();
    const digest = createHash('sha1').update(`blob ${size}\0`);
    const buffer = Buffer.alloc(Math.min(piece, size));
    let blank = true;
    for (let at = 0; at < size; ) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) break;
      const part = buffer.subarray(0, bytesRead);
      digest.update(part);
      blank &&= part.every((byte) => byte === 0);
      at += bytesRead;
    }
    return { oid: digest.digest('hex'), damaged: blank };
  } finally {
    await file.close();
  }
}
