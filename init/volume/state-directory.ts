/** Prepares the state directory for init: on a mounted volume, with all parts that init writes. */
import { lstatSync } from 'node:fs';
import { credentialsMemoryFile } from '../../shared/credentials-memory.ts';
import { BerthError } from '../../shared/errors.ts';
import { installedDirectory, installedFile } from '../../shared/installed-cli.ts';
import type { Log } from '../../shared/log.ts';
import { openStateDirectory } from '../../shared/state-directory.ts';
import { githubFile, proposalsFile, receivedCommitsFile, reportFile } from './record.ts';

/** Parts that init writes into or replaces by name. */
const parts = {
  directories: ['base', 'quarantine', 'git', 'stage', 'previous', installedDirectory],
  files: [
    ...[reportFile, credentialsMemoryFile, githubFile, installedFile, proposalsFile],
    receivedCommitsFile,
  ],
};

/**
 * Makes the state directory usable, before the lease, which is in it.
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

/** @throws BerthError `volume_unwritable` if there is nothing that could be the volume */
export function assertVolume(configDirectory: string): void {
  if (isDirectory(configDirectory)) return;
  const found = lstatSync(configDirectory, { throwIfNoEntry: false });
  const cause = found?.isSymbolicLink() ? 'it is a symlink' : 'the directory does not exist';
  throw new BerthError(
    'volume_unwritable',
    `cannot use ${configDirectory}: ${cause}; mount the volume there, or set BERTH_CONFIG_DIR`,
  );
}

/** Synchronous: the thread pool costs ten times as much as the call. */
export function isDirectory(path: string): boolean {
  try {
    return lstatSync(path).isDirectory();
  } catch {
    return false;
  }
}
