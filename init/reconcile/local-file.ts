/**
 * Reads the state of a path on the volume without following symlinks: type, git blob id, damage.
 * Content is read in pieces, so a huge file costs no memory.
 */
import { createHash, hash } from 'node:crypto';
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
import { systemCode } from '../../shared/errors.ts';
import { inside } from '../../shared/files.ts';
import type { Owner } from '../../shared/owner.ts';
import { objectId } from '../git/pack-format.ts';
import type { RecordedEntry } from '../volume/record.ts';

export interface LocalFile {
  kind: 'file';
  oid: string;
  executable: boolean;
  /** Empty, or only NUL bytes: the result of a crashed node. */
  damaged: boolean;
  status: Status;
  owner?: Owner;
}

export type Local =
  | { kind: 'missing' }
  | LocalFile
  | { kind: 'symlink'; oid: string }
  | { kind: 'directory' }
  /** A device, a FIFO, a socket, or an unreadable file. */
  | { kind: 'special' };

/** The lstat data of a file, to detect later without reading that it did not change. */
export interface Status {
  size: number;
  mtime: number;
  inode: number;
}

export function statusOf({ size, mtimeMs, ino }: Stats): Status {
  return { size, mtime: mtimeMs, inode: ino };
}

/**
 * Synchronous, not a promise: each call takes a few microseconds, and the thread pool costs ten
 * times as much.
 * @param recorded berth's record of the file, used for its content if lstat data are unchanged;
 * absent if the record must not be trusted
 * @param real directories of `root` that are known to be real while nothing changed; new ones are
 * added
 */
export function inspectFile(
  root: string,
  path: string,
  recorded: RecordedEntry | undefined,
  real: Set<string> = new Set(),
): Local {
  const full = inside(root, path);
  // Behind a symlink or a file there is no file of berth's.
  if (!isReal(root, path.slice(0, Math.max(0, path.lastIndexOf('/'))), real)) {
    return { kind: 'missing' };
  }
  const found = statusAt(full);
  if (!found) return { kind: 'missing' };
  if (found.isDirectory()) return { kind: 'directory' };
  if (found.isSymbolicLink()) {
    return { kind: 'symlink', oid: objectId('blob', readlinkSync(full, { encoding: 'buffer' })) };
  }
  if (!found.isFile()) return { kind: 'special' };
  const status = statusOf(found);
  const executable = (found.mode & 0o100) !== 0;
  const owner = { uid: found.uid, gid: found.gid };
  const content =
    recorded && isUntouched(status, recorded) ? { oid: recorded.oid, damaged: false } : read(full);
  return content ? { kind: 'file', executable, status, owner, ...content } : { kind: 'special' };
}

/** Whether `directory`, below `root`, and all its parents are directories and not symlinks. */
function isReal(root: string, directory: string, real: Set<string>): boolean {
  if (directory === '' || real.has(directory)) return true;
  const parent = directory.slice(0, Math.max(0, directory.lastIndexOf('/')));
  if (!isReal(root, parent, real)) return false;
  if (!statusAt(`${root}/${directory}`)?.isDirectory()) return false;
  real.add(directory);
  return true;
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
/** Shared by all files, because only one is read at a time. */
let buffer: Buffer | undefined;

/** The blob id of a file's content, and whether the content is only NUL bytes. */
function read(path: string): { oid: string; damaged: boolean } | undefined {
  const file = openFile(path);
  if (file === undefined) return undefined;
  try {
    buffer ??= Buffer.allocUnsafeSlow(piece);
    const { size } = fstatSync(file);
    const head = buffer.write(`blob ${size}\0`, 'latin1');
    // The usual case in one piece, including its header: a Hash object costs more than the hashing.
    const whole = size <= buffer.length - head;
    const digest = whole ? undefined : createHash('sha1').update(buffer.subarray(0, head));
    let end = head;
    let damaged = true;
    for (let at = 0; at < size; ) {
      const start = whole ? end : 0;
      const length = readSync(file, buffer, start, Math.min(size - at, buffer.length - start), at);
      if (length === 0) break;
      at += length;
      end = start + length;
      damaged &&= isBlank(buffer, start, end);
      digest?.update(buffer.subarray(start, end));
    }
    return { oid: digest ? digest.digest('hex') : hash('sha1', buffer.subarray(0, end)), damaged };
  } finally {
    closeSync(file);
  }
}

function isBlank(bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (bytes[at] !== 0) return false;
  return true;
}

/** Undefined if the file is unreadable, or has become a symlink. */
function openFile(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (systemCode(error) === 'EACCES' || systemCode(error) === 'ELOOP') return undefined;
    throw error;
  }
}
