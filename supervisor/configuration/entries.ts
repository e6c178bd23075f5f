/**
 * Lists the executable configuration on the volume without following symlinks.
 * Invariants: the listing is synchronous, so that nothing in this process changes meanwhile. The
 * listing is bounded.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  type Dirent,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  type Stats,
} from 'node:fs';
import {
  executableDirectories,
  isExecutableConfiguration,
} from '../../shared/executable-configuration.ts';

/**
 * Files of the CLI itself: the state and the downloads of plugins, and skills of a claude.ai
 * account. Only files that upstream has are guarded there.
 */
const ofTheCli = /^(plugins|skills\/synced)(\/|$)/i;

export function isOfTheCli(path: string): boolean {
  return ofTheCli.test(path);
}

export interface Found {
  /** Everything that is not a directory, by its path below the root. */
  files: Map<string, Stats>;
  /** The directories that were found, '' for the root. */
  directories: string[];
  /** The directory in which the listing was ended, because there are too many entries; undefined: it is complete. */
  crowded: string | undefined;
}

/**
 * All executable configuration except the files of the CLI itself.
 * @param most entries, after which the listing ends
 * @param isKnown entries that do not count
 */
export function findExecutable(
  root: string,
  most: number,
  isKnown: (path: string) => boolean = () => false,
): Found {
  const found: Found = { files: new Map(), directories: [''], crowded: undefined };
  const names: ReadonlySet<string> = new Set(executableDirectories);
  const pending: string[] = [''];
  let looked = 0;
  for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
    for (const entry of list(at === '' ? root : `${root}/${at}`)) {
      const path = at === '' ? entry.name : `${at}/${entry.name}`;
      if (at === '' && !isExecutableConfiguration(path)) continue;
      if (isOfTheCli(path)) continue;
      if (!isKnown(path) && ++looked > most) return { ...found, crowded: at };
      const isPlace = entry.isDirectory() && (at !== '' || names.has(path.toLowerCase()));
      if (isPlace) {
        found.directories.push(path);
        pending.push(path);
        continue;
      }
      const status = statusAt(`${root}/${path}`);
      if (status) found.files.set(path, status);
    }
  }
  return found;
}

function list(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    return [];
  }
}

export function statusAt(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

/** Milliseconds; the clock of files ticks every 1 to 10 ms. */
const longestTick = 100;

/**
 * Whether the file was changed so recently that its next change may have the same time: the times and the size then do
 * not show that change.
 */
export function isOfThisTick({ ctimeMs }: Stats): boolean {
  return Date.now() - ctimeMs <= longestTick;
}

/** Undefined also if a part of the path above its end is no directory: no symlink is followed below the root. */
export function statusBelow(root: string, path: string): Stats | undefined {
  for (let end = path.indexOf('/'); end >= 0; end = path.indexOf('/', end + 1)) {
    if (!statusAt(`${root}/${path.slice(0, end)}`)?.isDirectory()) return undefined;
  }
  return statusAt(`${root}/${path}`);
}

export interface Content {
  kind: 'file' | 'symlink';
  /** A symlink's target. */
  bytes: Buffer;
  executable: boolean;
  /** The git blob id. */
  oid: string;
}

/** Larger files are not read and not guarded. */
export const largestFile = 4 * 1024 * 1024;

/** Undefined for everything except a file or symlink, and for too large or unreadable files. */
export function contentAt(path: string): Content | undefined {
  try {
    const found = lstatSync(path);
    if (found.isSymbolicLink()) {
      const bytes = readlinkSync(path, { encoding: 'buffer' });
      return { kind: 'symlink', bytes, executable: false, oid: blobId(bytes) };
    }
    // O_NONBLOCK: a planted FIFO must not hang the reader.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const file = openSync(path, flags);
    try {
      const status = fstatSync(file);
      if (!status.isFile() || status.size > largestFile) return undefined;
      const bytes = readFileSync(file);
      const executable = (status.mode & 0o100) !== 0;
      return { kind: 'file', bytes, executable, oid: blobId(bytes) };
    } finally {
      closeSync(file);
    }
  } catch {
    return undefined;
  }
}

export function blobId(content: Buffer): string {
  return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
}
