/**
 * What on the volume belongs to others: finding it, and telling it where this process may not change it.
 * Always holds: no symlink is followed, and nothing is changed.
 */
import { lstatSync, readdirSync, type Stats } from 'node:fs';
import { setImmediate as breathe } from 'node:timers/promises';
import { systemCode } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';

export interface Found {
  files: string[];
  /** By depth, outermost first. */
  directories: string[][];
}

export interface FindOptions {
  signal: AbortSignal;
  /** Whether a path is left out, without a look at it. */
  except?(path: string): boolean;
  /** Told of a directory that cannot be read; it may throw. */
  refused(directory: string, error: unknown): void;
}

/**
 * What lies below `roots` and fits. Asked one after the other without a promise each: a call takes
 * microseconds, and a round through the thread pool ten times as much.
 */
export async function findBelow(
  roots: readonly string[],
  fits: (status: Stats) => boolean,
  { signal, except, refused }: FindOptions,
): Promise<Found> {
  signal.throwIfAborted();
  const found: Found = { files: [], directories: [] };
  let looked = 0;
  const seen = new Set(roots);
  let level = [...seen];
  while (level.length > 0) {
    const deeper: string[] = [];
    const fitting: string[] = [];
    for (const directory of level) {
      for (const name of list(directory, refused)) {
        // The lease's heartbeat must not wait for a volume with very many files.
        if (++looked % 256 === 0) {
          await breathe();
          signal.throwIfAborted();
        }
        const path = `${directory}/${name}`;
        if (seen.has(path) || except?.(path)) continue;
        const status = lstatSync(path, { throwIfNoEntry: false });
        // The CLI's sockets and temporary files may go at any moment.
        if (!status) continue;
        const isDirectory = status.isDirectory();
        if (isDirectory) deeper.push(path);
        if (fits(status)) (isDirectory ? fitting : found.files).push(path);
      }
    }
    found.directories.push(fitting);
    level = deeper;
  }
  return found;
}

/** The names in `directory`; none if it has gone. */
function list(directory: string, refused: FindOptions['refused']): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') refused(directory, error);
    return [];
  }
}

/** Whether the CLI can write it, as its owner or by a group that it shares with this process. */
export function mayWrite(
  status: Stats,
  uid: number,
  groups: ReadonlySet<number | undefined>,
): boolean {
  if (status.isSymbolicLink() || status.uid === uid) return true;
  const wanted = status.isDirectory() ? 0o070 : 0o060;
  return groups.has(status.gid) && (status.mode & wanted) === wanted;
}

/** Warns of `paths`, which the user of the CLI cannot write. */
export function tellForeign(paths: readonly string[], uid: number, log: Log): void {
  const own = process.geteuid?.();
  if (own !== uid) {
    log.warn(
      'ownership_foreign',
      `berth-init runs as user ${own} and the CLI as ${uid}: what is written here cannot all be used there; give both containers the same runAsUser, and BERTH_UID too`,
    );
  } else if (paths.length > 0) {
    const some = paths.slice(0, 3).join(', ');
    log.warn(
      'ownership_foreign',
      `the CLI (user ${uid}) cannot write ${paths.length} files on the volume, such as ${some}; let fsGroupChangePolicy be Always for one start, or run init once as root`,
      { count: paths.length },
    );
  }
}
