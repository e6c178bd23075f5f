/**
 * Finds files on the volume that belong to another user, and warns about them if this process
 * cannot change their owner.
 * Invariants: no symlink is followed, and nothing is changed.
 */
import { lstatSync, readdirSync, type Stats } from 'node:fs';
import { setImmediate as breathe } from 'node:timers/promises';
import { systemCode } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';

export interface Found {
  files: string[];
  /** By depth, outermost first. */
  directories: string[][];
  /** The number of files and directories that were checked. */
  checked: number;
  /** Whether the search ended early. */
  partial: boolean;
}

export interface FindOptions {
  signal: AbortSignal;
  /** Whether a path is skipped without a check. */
  except?(path: string): boolean;
  /** Called for a directory that cannot be read; it may throw. */
  refused(directory: string, error: unknown): void;
  /** The search ends early at so many checked files and directories, or after so many ms. */
  limit?: { entries: number; duration: number };
}

/**
 * Finds the matching files below `roots`. Synchronous, one after the other: a call takes
 * microseconds, and the thread pool would take ten times as long.
 */
export async function findBelow(
  roots: readonly string[],
  fits: (status: Stats) => boolean,
  { signal, except, refused, limit }: FindOptions,
): Promise<Found> {
  signal.throwIfAborted();
  const found: Found = { files: [], directories: [], checked: 0, partial: false };
  let looked = 0;
  const { entries, duration } = limit ?? { entries: Infinity, duration: Infinity };
  const end = performance.now() + duration;
  const isOver = () => {
    found.partial ||= found.checked >= entries || performance.now() >= end;
    return found.partial;
  };
  const seen = new Set(roots);
  let level = [...seen];
  while (level.length > 0) {
    const deeper: string[] = [];
    const fitting: string[] = [];
    for (const directory of level) {
      if (isOver()) break;
      for (const name of list(directory, refused)) {
        if (isOver()) break;
        // The lease's heartbeat must not wait for a volume with very many files.
        if (++looked % 256 === 0) {
          await breathe();
          signal.throwIfAborted();
        }
        const path = `${directory}/${name}`;
        if (seen.has(path) || except?.(path)) continue;
        found.checked++;
        const status = lstatSync(path, { throwIfNoEntry: false });
        // The CLI's sockets and temporary files may disappear at any moment.
        if (!status) continue;
        const isDirectory = status.isDirectory();
        if (isDirectory) deeper.push(path);
        if (fits(status)) (isDirectory ? fitting : found.files).push(path);
      }
    }
    found.directories.push(fitting);
    level = found.partial ? [] : deeper;
  }
  return found;
}

/** The names in `directory`; empty if the directory does not exist any more. */
function list(directory: string, refused: FindOptions['refused']): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') refused(directory, error);
    return [];
  }
}

/**
 * Whether the CLI can write the file, as its owner or through a group that it shares with this
 * process.
 */
export function mayWrite(
  status: Stats,
  uid: number,
  groups: ReadonlySet<number | undefined>,
): boolean {
  if (status.isSymbolicLink() || status.uid === uid) return true;
  const wanted = status.isDirectory() ? 0o070 : 0o060;
  return groups.has(status.gid) && (status.mode & wanted) === wanted;
}

/** Warns about `paths`, which the user of the CLI cannot write. */
export function logForeignFiles(paths: readonly string[], uid: number, log: Log): void {
  const own = process.geteuid?.();
  if (own !== uid) {
    log.warn(
      'ownership_foreign',
      `berth-init runs as user ${own} and the CLI as ${uid}: the CLI cannot use all files of this run; use the same runAsUser in both containers, and set BERTH_UID to it`,
    );
  } else if (paths.length > 0) {
    const some = paths.slice(0, 3).join(', ');
    log.warn(
      'ownership_foreign',
      `the CLI (user ${uid}) cannot write ${paths.length} files on the volume, such as ${some}; set fsGroupChangePolicy to Always for one start, or run init once as root`,
      { count: paths.length },
    );
  }
}
