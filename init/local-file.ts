/**
 * What lies at a path of the volume, told without following any symlink: its type, its git blob id
 * and whether it is damaged. Content is read in pieces, so a huge file costs no memory.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  readSync,
  type Stats,
} from 'node:fs';
import { systemCode } from '../shared/errors.ts';
import { inside } from '../shared/files.ts';
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
 * Answers at once rather than with a promise: for the few microseconds that each call takes, a round
 * through the thread pool costs ten times as much.
 * @param recorded berth's own record of the file, taken for its content if lstat still says the same;
 *   absent where the record must not be trusted
 */
export function lookAt(root: string, path: string, recorded: RecordedEntry | undefined): Local {
  // Behind a symlink or a file lies nothing of ours.
  const parts = path.split('/');
  for (let depth = 1; depth < parts.length; depth++) {
    const parent = statusAt(inside(root, parts.slice(0, depth).join('/')));
    if (!parent?.isDirectory()) return { kind: 'missing' };
  }
  const full = inside(root, path);
  const found = statusAt(full);
  if (!found) return { kind: 'missing' };
  if (found.isDirectory()) return { kind: 'directory' };
  if (found.isSymbolicLink()) {
    return { kind: 'symlink', oid: objectId('blob', readlinkSync(full, { encoding: 'buffer' })) };
  }
  if (!found.isFile()) return { kind: 'special' };
  const status = statusOf(found);
  const executable = (found.mode & 0o100) !== 0;
  if (recorded && isUntouched(status, recorded)) {
    return { kind: 'file', oid: recorded.oid, executable, damaged: false, status };
  }
  const content = hash(full);
  return content ? { kind: 'file', executable, status, ...content } : { kind: 'special' };
}

function statusAt(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
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

function hash(path: string): { oid: string; damaged: boolean } | undefined {
  const file = openFile(path);
  if (file === undefined) return undefined;
  try {
    const { size } = fstatSync(file);
    const digest = createHash('sha1').update(`blob ${size}\0`);
    const buffer = Buffer.alloc(Math.min(piece, size));
    let blank = true;
    for (let at = 0; at < size; ) {
      const length = readSync(file, buffer, 0, buffer.length, at);
      if (length === 0) break;
      const part = buffer.subarray(0, length);
      digest.update(part);
      blank &&= part.every((byte) => byte === 0);
      at += length;
    }
    return { oid: digest.digest('hex'), damaged: blank };
  } finally {
    closeSync(file);
  }
}

/** Undefined if it may not be read, or has become a symlink. */
function openFile(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (systemCode(error) === 'EACCES' || systemCode(error) === 'ELOOP') return undefined;
    throw error;
  }
}
