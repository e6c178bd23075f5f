/**
 * Who owns the volume. Where berth-init runs as root, everything on it that somebody else owns is
 * given to the user of the CLI; otherwise it only looks for what that user cannot write, and says so.
 * Always holds: no symlink is followed, and what is owned already is not touched. The capability CHOWN
 * alone is enough on a volume of root: what is in a directory changes hands before the directory, and
 * the volume itself and berth's state come last of all (`handOver`), for root then has no way in.
 */
import type { Stats } from 'node:fs';
import { lchown, lstat } from 'node:fs/promises';
import { systemCode } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import { type Owner, ownerRefused, refusal } from '../shared/owner.ts';
import { findBelow, mayWrite, tellForeign } from './foreign-files.ts';
import { forEachParallel } from './parallel.ts';

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
    const found = await findBelow(roots, isForeign, { ...options, refused: () => undefined });
    tellForeign([...found.files, ...found.directories.flat()], owner.uid, log);
    return 0;
  }
  const isForeign = ({ uid, gid }: Stats) => uid !== owner.uid || gid !== owner.gid;
  const { files, directories } = await findBelow(roots, isForeign, {
    ...options,
    refused: (directory, error) => {
      throw refusal(directory, owner, error);
    },
  });
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

async function give(path: string, owner: Owner): Promise<void> {
  try {
    await lchown(path, owner.uid, owner.gid);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw await ownerRefused(path, owner, error);
  }
}
