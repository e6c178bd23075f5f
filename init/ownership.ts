/**
 * Who owns the volume. Where berth-init runs as root, everything on it that somebody else owns is
 * given to the user of the CLI; otherwise nothing is done, for nothing could be.
 * Always holds: no symlink is followed, and what is owned already is not touched.
 */
import type { Stats } from 'node:fs';
import { lchown, lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError, messageOf, systemCode } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import { forEachParallel } from './parallel.ts';

export interface Owner {
  uid: number;
  gid: number;
}

export function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

/**
 * @param roots directories, each with everything below it
 * @param options.except one path that is left as it is
 * @returns how many files and directories changed hands
 * @throws BerthError `volume_unwritable` if the file system does not allow it
 */
export async function takeOwnership(
  roots: readonly string[],
  owner: Owner,
  { signal, log, except }: { signal: AbortSignal; log: Log; except?: string },
): Promise<number> {
  if (!isRoot()) return 0;
  let changed = 0;
  const visit = async (path: string): Promise<Stats | undefined> => {
    try {
      const status = await lstat(path);
      if (status.uid === owner.uid && status.gid === owner.gid) return status;
      await lchown(path, owner.uid, owner.gid);
      changed += 1;
      return status;
    } catch (error) {
      // The CLI's sockets and temporary files may go at any moment.
      if (systemCode(error) === 'ENOENT') return undefined;
      throw refused(path, owner, error);
    }
  };
  let directories = [...new Set(roots)];
  for (const root of directories) await visit(root);
  while (directories.length > 0) {
    const deeper: string[] = [];
    await forEachParallel(directories, 4, signal, async (directory) => {
      const names = (await list(directory, owner))
        .map((name) => join(directory, name))
        .filter((path) => path !== except);
      await forEachParallel(names, 8, signal, async (path) => {
        if ((await visit(path))?.isDirectory()) deeper.push(path);
      });
    });
    directories = deeper;
  }
  if (changed > 0) {
    log.info('ownership_changed', 'gave files to the user of the CLI', { changed, ...owner });
  }
  return changed;
}

/** The names in `directory`; none if it has gone. */
async function list(directory: string, owner: Owner): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw refused(directory, owner, error);
  }
}

function refused(path: string, owner: Owner, cause: unknown): BerthError {
  return new BerthError(
    'volume_unwritable',
    `cannot give ${path} to ${owner.uid}:${owner.gid}: ${messageOf(cause)}; run init with the capabilities CHOWN, DAC_OVERRIDE and FOWNER, or as that user (runAsUser and fsGroup)`,
    { cause },
  );
}
