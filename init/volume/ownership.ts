/**
 * The owner of the files on the volume. If berth-init runs as root, everything with another owner
 * is given to the user of the CLI; otherwise init only finds and reports files that this user
 * cannot write.
 * Invariants: no symlink is followed, and files with the right owner are not touched. The
 * capability CHOWN is enough on a volume of root: the content of a directory changes its owner
 * before the directory. The volume itself and berth's state come last (`handOver`), because root
 * then has no access any more.
 */
import { lchownSync, type Stats } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { setImmediate as breathe } from 'node:timers/promises';
import { systemCode } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { type Owner, ownerRefused, refusal } from '../../shared/owner.ts';
import { findBelow, logForeignFiles, mayWrite } from './foreign-files.ts';

export interface OwnershipOptions {
  signal: AbortSignal;
  log: Log;
  /** A path that is not changed. */
  except?: string;
  /** Owners by full path, if this run has already read them. */
  known?: ReadonlyMap<string, Owner>;
}

/**
 * A check that only warns must not use up BERTH_TIMEOUT on a large volume over a slow network. In
 * ms; the outermost files come first.
 */
const limit = { entries: 20_000, duration: 5_000 };

export function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

/**
 * Gives everything below `roots`, but not the roots themselves, to `owner`; without root it only
 * checks, within limits.
 * @returns the number of files and directories whose owner changed
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
    const refused = () => undefined;
    const found = await findBelow(roots, isForeign, { signal, except, refused, limit });
    const { checked } = found;
    if (found.partial) {
      log.info('ownership_partial', 'checked the owner of a part of the files only', { checked });
    }
    logForeignFiles([...found.files, ...found.directories.flat()], owner.uid, log);
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
    // Neither the lease's heartbeat nor a stop may wait for very many files.
    if (++changed % 256 === 0) {
      await breathe();
      signal.throwIfAborted();
    }
    await give(path, owner);
  }
  if (changed > 0) {
    log.info('ownership_changed', 'changed the owner of files to the user of the CLI', {
      changed,
      ...owner,
    });
  }
  return changed;
}

/**
 * Gives the roots themselves to `owner`, if this process is root: the last step on the volume.
 * @throws BerthError `volume_unwritable`
 */
export async function handOver(roots: readonly string[], owner: Owner, log: Log): Promise<void> {
  if (!isRoot()) return;
  // Inner roots first: an outer root may be the path to them.
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
    // Synchronous: the thread pool costs ten times as much as the call.
    lchownSync(path, owner.uid, owner.gid);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw await ownerRefused(path, owner, error);
  }
}
