/**
 * The directory of berth's own state on the volume. Always holds: it is a real directory that only the
 * volume's owner may enter, and so are its parts; what stands in the place of one is set aside, never
 * followed or lost.
 */
import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { BerthError, systemCode } from '../shared/errors.ts';
import { unwritable } from '../shared/files.ts';
import { leaseFileName } from '../shared/lease.ts';
import type { Log } from '../shared/log.ts';
import { credentialsMemoryFile, githubFile, lastGoodFile, reportFile } from './record.ts';
import { openAside } from './set-aside.ts';

/** What berth writes into or replaces by name. */
const directories = ['base', 'conflicts', 'quarantine', 'git'];
const files = [leaseFileName, reportFile, credentialsMemoryFile, lastGoodFile, githubFile];

/**
 * Makes the state directory usable: real, and closed to others. Comes before the lease, which lies in it.
 * @throws BerthError `volume_unwritable`
 */
export async function openState(
  configDirectory: string,
  stateDirectory: string,
  log: Log,
): Promise<void> {
  try {
    if (!(await isDirectory(configDirectory))) {
      throw new BerthError(
        'volume_unwritable',
        `cannot use ${configDirectory}: there is no such directory; mount the volume there, or set BERTH_CONFIG_DIR`,
      );
    }
    const displaced = [await displace(stateDirectory, 'directory')];
    await mkdir(stateDirectory, { recursive: true, mode: 0o700 });
    await chmod(stateDirectory, 0o700).catch(() => undefined);
    for (const name of directories) {
      displaced.push(await displace(join(stateDirectory, name), 'directory'));
    }
    for (const name of files) displaced.push(await displace(join(stateDirectory, name), 'file'));
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
async function displace(path: string, type: 'directory' | 'file'): Promise<string | undefined> {
  try {
    const found = await lstat(path);
    if (type === 'directory' ? found.isDirectory() : found.isFile()) return undefined;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  const away = join(dirname(path), `${basename(path)}.aside-${randomBytes(4).toString('hex')}`);
  await rename(path, away);
  return away;
}

export async function isDirectory(path: string): Promise<boolean> {
  const status = await lstat(path).catch(() => undefined);
  return status?.isDirectory() ?? false;
}
