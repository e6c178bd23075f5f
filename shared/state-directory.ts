/**
 * The directory of berth's own state on the volume, made usable before the lease, which lies in it.
 * Always holds: it is a real directory that only the volume's owner may enter, and so are its parts;
 * what stands in the place of one is set aside, never followed or lost.
 */
import { randomBytes } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { chmod, mkdir, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { BerthError, systemCode } from './errors.ts';
import { unwritable } from './files.ts';
import { leaseFileName } from './lease.ts';
import type { Log } from './log.ts';
import { openReserve } from './reserve.ts';
import { openAside } from './set-aside.ts';

/** Parts by name; each is repaired where it is there and of another type. */
export interface StateParts {
  directories: readonly string[];
  files: readonly string[];
}

/** Where the supervisor notes who owns which session. */
export const sessionsDirectory = 'sessions';

/** The last login that was good, which the supervisor keeps and init can put back. */
export const lastGoodFile = 'last-good-credentials.json';

/** What init did last, for the supervisor to read. */
export const reportFile = 'report.json';

/** What init remembers of its last look at GitHub, and when the token ends. */
export const githubFile = 'github.json';

/** Copies of upstream's executable configuration by their blob ids, which the supervisor keeps. */
export const copiesDirectory = 'executable';

/** What both programs need to find right. */
const common: StateParts = {
  directories: ['conflicts', sessionsDirectory],
  files: [leaseFileName, lastGoodFile],
};

/**
 * Makes the state directory real, closed to others, and its parts what they should be. Needs no lease.
 * @param more what the program has there besides the lease, the sessions and the last good login
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
    await mkdir(stateDirectory, { recursive: true, mode: 0o700 });
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
      log.warn('volume_repaired', 'something stood in the place of a part of the state', {
        path,
        saved,
      });
    }
  } catch (error) {
    throw error instanceof BerthError ? error : unwritable(stateDirectory, error);
  }
}

/** Renames what is at `path` if it is there and of another type; returns its new place. */
async function displace(path: string, type: keyof StateParts): Promise<string | undefined> {
  const away = join(dirname(path), `${basename(path)}.aside-${randomBytes(4).toString('hex')}`);
  try {
    // At once: for a dozen names a round through the thread pool costs ten times as much.
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (!found) return undefined;
    if (type === 'files' ? found.isFile() : found.isDirectory()) return undefined;
    await rename(path, away);
    return away;
  } catch (error) {
    // It is not there, or another program has just set it aside.
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
