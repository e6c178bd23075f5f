/**
 * Prepares the directory of berth's own state on the volume. This happens before the lease, which
 * is in this directory.
 * Invariants: the directory and its parts are real directories that only the owner of the volume
 * may enter. Something else at one of these paths is set aside, never followed or lost.
 */
import { randomBytes } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { chmod, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { openReserve } from './disk-reserve.ts';
import { BerthError, systemCode } from './errors.ts';
import { makeDirectories, unwritable } from './files.ts';
import { leaseFileName } from './lease.ts';
import type { Log } from './log.ts';
import { openAside } from './set-aside.ts';

/** Parts by name; a part of another type is repaired. */
export interface StateParts {
  directories: readonly string[];
  files: readonly string[];
}

/** The supervisor records the owner of each session here. */
export const sessionsDirectory = 'sessions';

/** The last good login, which the supervisor keeps and init can restore. */
export const lastGoodFile = 'last-good-credentials.json';

/** init's last report, for the supervisor. */
export const reportFile = 'report.json';

/** init's record of its last check of GitHub, and when the token expires. */
export const githubFile = 'github.json';

/** Copies of upstream's executable configuration by blob id, which the supervisor keeps. */
export const copiesDirectory = 'executable';

/** Parts that both programs need. */
const common: StateParts = {
  directories: ['conflicts', sessionsDirectory],
  files: [leaseFileName, lastGoodFile],
};

/**
 * Makes the state directory a real, private directory and repairs its parts. Needs no lease.
 * @param more the program's parts besides the lease, the sessions and the last good login
 * @throws BerthError `volume_unwritable`
 */
export async function openStateDirectory(
  stateDirectory: string,
  log: Log,
  more: StateParts = { directories: [], files: [] },
): Promise<void> {
  try {
    openReserve(stateDirectory);
    const displaced = [await displace(stateDirectory, 'directories')];
    await makeDirectories(stateDirectory, 0o700);
    await chmod(stateDirectory, 0o700).catch(() => undefined);
    for (const type of ['directories', 'files'] as const) {
      for (const name of [...common[type], ...more[type]]) {
        displaced.push(await displace(join(stateDirectory, name), type));
      }
    }
    for (const path of displaced) {
      if (path === undefined) continue;
      const aside = openAside(join(stateDirectory, 'conflicts'), 'state');
      const saved = await aside.save(path, basename(path));
      log.warn('volume_repaired', 'a file of another type was at the path of a part of the state', {
        path,
        saved,
      });
    }
  } catch (error) {
    throw error instanceof BerthError ? error : unwritable(stateDirectory, error);
  }
}

/** Renames a file of another type at `path`; returns its new path. */
async function displace(path: string, type: keyof StateParts): Promise<string | undefined> {
  const away = join(dirname(path), `${basename(path)}.aside-${randomBytes(4).toString('hex')}`);
  try {
    // Synchronous: for a dozen names, the thread pool would cost ten times as much.
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (!found) return undefined;
    if (type === 'files' ? found.isFile() : found.isDirectory()) return undefined;
    await rename(path, away);
    return away;
  } catch (error) {
    // Absent, or another program has just set it aside.
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
