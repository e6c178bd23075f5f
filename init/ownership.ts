/**
 * Who owns the volume. Where berth-init runs as root, everything on it that somebody else owns is
 * given to the user of the CLI; otherwise it only looks for what that user cannot write, and says so.
 * Always holds: no symlink is followed, and what is owned already is not touched. The capability CHOWN
 * alone is enough on a volume of root: what is in a directory changes hands before the directory, and
 * the volume itself and berth's state come last of all (`handOver`), for root then has no way in.
 */
import type { Stats } from 'node:fs';
import { lstatSync, readdirSync } from 'node:fs';
import { lchown, lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as breathe } from 'node:timers/promises';
import { BerthError, messageOf, systemCode } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import { forEachParallel } from './parallel.ts';

export interface Owner {
  uid: number;
  gid: number;
}

export interface OwnershipOptions {
  signal: AbortSignal;
  log: Log;
  /** One path that is left as it is. */
  except?: string;
}

export function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

/**
 * Gives everything below `roots`, but not the roots themselves, to `owner`; without root it is only
 * looked at.
 * @returns how many files and directories changed hands
 * @throws BerthError `volume_unwritable` if the file system does not allow it
 */
export async function takeOwnership(
  roots: readonly string[],
  owner: Owner,
  options: OwnershipOptions,
): Promise<number> {
  const { signal, log } = options;
  if (!isRoot()) {
    const groups = new Set([...(process.getgroups?.() ?? []), process.getegid?.()]);
    const isForeign = (status: Stats) => !mayWrite(status, owner.uid, groups);
    const found = await findBelow(roots, owner, isForeign, options);
    tellForeign([...found.files, ...found.directories.flat()], owner, log);
    return 0;
  }
  const isForeign = ({ uid, gid }: Stats) => uid !== owner.uid || gid !== owner.gid;
  const { files, directories } = await findBelow(roots, owner, isForeign, options);
  const levels = [files, ...directories.reverse()];
  for (const paths of levels) {
    await forEachParallel(paths, 16, signal, (path) => give(path, owner));
  }
  const changed = levels.flat().length;
  if (changed > 0) {
    log.info('ownership_changed', 'gave files to the user of the CLI', { changed, ...owner });
  }
  return changed;
}

/**
 * Gives the roots themselves to `owner`, where this is root: the very last step on the volume.
 * @throws BerthError `volume_unwritable`
 */
export async function handOver(roots: readonly string[], owner: Owner, log: Log): Promise<void> {
  if (!isRoot()) return;
  // Inner ones first: the outer one may be the way to them.
  for (const root of [...new Set(roots)].sort().reverse()) {
    const { uid, gid } = await lstat(root);
    if (uid === owner.uid && gid === owner.gid) continue;
    await give(root, owner);
    const after = await lstat(root).catch(() => undefined);
    if (!after || (after.uid === owner.uid && after.gid === owner.gid)) continue;
    log.warn(
      'ownership_foreign',
      `${root} still belongs to ${after.uid}:${after.gid}: its file system ignores owners; mount it with the options uid=${owner.uid},gid=${owner.gid}`,
    );
  }
}

interface Found {
  files: string[];
  /** By depth, outermost first. */
  directories: string[][];
}

/**
 * What lies below `roots` and fits. Asked one after the other without a promise each: a call takes
 * microseconds, and a round through the thread pool ten times as much.
 */
async function findBelow(
  roots: readonly string[],
  owner: Owner,
  fits: (status: Stats) => boolean,
  { signal, except }: OwnershipOptions,
): Promise<Found> {
  const found: Found = { files: [], directories: [] };
  const seen = new Set(roots);
  let level = [...seen];
  while (level.length > 0) {
    const deeper: string[] = [];
    const fitting: string[] = [];
    for (const directory of level) {
      signal.throwIfAborted();
      await breathe();
      for (const name of list(directory, owner)) {
        const path = join(directory, name);
        if (path === except || seen.has(path)) continue;
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

/** The names in `directory`; none if it has gone, or is closed to one who only looks. */
function list(directory: string, owner: Owner): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || !isRoot()) return [];
    throw refused(directory, owner, error);
  }
}

async function give(path: string, owner: Owner): Promise<void> {
  try {
    await lchown(path, owner.uid, owner.gid);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw refused(path, owner, error);
  }
}

/** Whether the CLI can write it, as its owner or by a group that it shares with this process. */
function mayWrite(status: Stats, uid: number, groups: ReadonlySet<number | undefined>): boolean {
  if (status.isSymbolicLink() || status.uid === uid) return true;
  const wanted = status.isDirectory() ? 0o070 : 0o060;
  return groups.has(status.gid) && (status.mode & wanted) === wanted;
}

function tellForeign(paths: readonly string[], { uid }: Owner, log: Log): void {
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

function refused(path: string, owner: Owner, cause: unknown): BerthError {
  const remedy =
    systemCode(cause) === 'EINVAL'
      ? 'the user namespace does not know that user; set BERTH_UID and BERTH_GID to ones it maps'
      : 'run init with the capabilities CHOWN, DAC_OVERRIDE and FOWNER, or, where the file system takes no orders from root (NFS with root_squash), as that user (runAsUser and fsGroup)';
  return new BerthError(
    'volume_unwritable',
    `cannot give ${path} to ${owner.uid}:${owner.gid}: ${messageOf(cause)}; ${remedy}`,
    { cause },
  );
}
