/** The state directory as init needs it: on a volume that is mounted, with all parts that init writes. */
import { lstatSync } from 'node:fs';
import { credentialsMemoryFile } from '../../shared/credentials-memory.ts';
import { BerthError } from '../../shared/errors.ts';
import { installedDirectory, installedFile } from '../../shared/installed-cli.ts';
import type { Log } from '../../shared/log.ts';
import { openStateDirectory } from '../../shared/state-directory.ts';
import { githubFile, reportFile } from './record.ts';

/** What init writes into or replaces by name. */
const parts = {
  directories: ['base', 'quarantine', 'git', installedDirectory],
  files: [reportFile, credentialsMemoryFile, githubFile, installedFile],
};

/**
 * Makes the state directory usable; comes before the lease, which lies in it.
 * @throws BerthError `volume_unwritable`
 */
export async function openState(
  configDirectory: string,
  stateDirectory: string,
  log: Log,
): Promise<void> {
  assertVolume(configDirectory);
  await openStateDirectory(stateDirectory, log, parts);
}

/** @throws BerthError `volume_unwritable` if nothing that could be the volume is there */
export function assertVolume(configDirectory: string): void {
  if (isDirectory(configDirectory)) return;
  const found = lstatSync(configDirectory, { throwIfNoEntry: false });
  const cause = found?.isSymbolicLink() ? 'it is a symlink' : 'there is no such directory';
  throw new BerthError(
    'volume_unwritable',
    `cannot use ${configDirectory}: ${cause}; mount the volume there, or set BERTH_CONFIG_DIR`,
  );
}

/** Answers at once: a round through the thread pool costs ten times as much as the call. */
export function isDirectory(path: string): boolean {
  try {
    return lstatSync(path).isDirectory();
  } catch {
    return false;
  }
}
