/**
 * Who owns the volume. Where berth-init runs as root, everything on it that somebody else owns is
 * given to the user of the CLI; otherwise it only looks for what that user cannot write, and says so.
 * Always holds: no symlink is followed, and what is owned already is not touched. The capability CHOWN
 * alone is enough on a volume of root: what is in a directory changes hands before the directory, and
 * the volume itself and berth's state come last of all (`handOver`), for root then has no way in.
 */
import { lchownSync, type Stats } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { setImmediate as breathe } from 'node:timers/promises';
import { systemCode } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { type Owner, ownerRefused, refusal } from '../../shared/owner.ts';
import { findBelow, mayWrite, tellForeign } from './foreign-files.ts';

export interface OwnershipOptions {
  signal: AbortSignal;
  log: Log;
  /** One path that is left as it is. */
  except?: string;
  /** Who owns a file, by full path, where this run has looked already. */
  known?: ReadonlyMap<string, Owner>;
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
  const { signal, log, known } = options;
  const except = (path: string): boolean => {
    const found = known?.get(path);
    return (found?.uid === owner.uid && found.gid === owner.gid) || path === options.except;
  };
  if (!isRoot()) {
    const groups = new Set([...(process.getgroups?.() ?? []), process.getegid?.()]);
    const isForeign = (status: Stats) => !mayWrite(status, owner.uid, groups);
    const found = await findBelow(roots, isForeign, { signal, except, refused: () => undefined });
    tellForeign([...found.files, ...found.directories.flat()], owner.uid, log);
    return 0;
  }
  const isForeign = ({ uid, gid }: Stats) => uid !== owner.uid || gid !== owner.gid;
  const { files, directories } = await findBelow(roots, isForeign, {
    signal,
    except,
    refused: (directory, error) => {
      throw refusal(directory, owner, error);
    },
  });
  const levels = [files, ...directories.reverse()];
  let changed = 0;
  for (const path of levels.flat()) {
    // Neither the lease's heartbeat nor the wish to stop may wait for very many files.
    if (++changed % 256 === 0) {
      await breathe();
      signal.throwIfAborted();
    }
    await give(path, owner);
  }
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
    // At once: a round through the thread pool costs ten times as much as the call.
    lchownSync(path, owner.uid, owner.gid);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw await ownerRefused(path, owner, error);
  }
}
