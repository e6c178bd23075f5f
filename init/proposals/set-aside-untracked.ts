/**
 * Moves executable configuration that only the volume has to `conflicts/`, so that it is proposed
 * without being in effect. The supervisor does the same while it runs; this is for what is there
 * before its start.
 * Invariant: only files that would be proposed are moved. No supervisor runs meanwhile.
 */
import { join } from 'node:path';
import { isExecutableConfiguration } from '../../shared/executable-configuration.ts';
import { obstructedParent } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { openAside } from '../../shared/set-aside.ts';
import type { Tree } from '../git/tree.ts';
import { removeFile } from '../reconcile/write-entry.ts';
import { untrackedFiles } from './changes.ts';
import { isListed, neverProposed } from './paths.ts';

interface Options {
  configDirectory: string;
  stateDirectory: string;
  /** BERTH_PROPOSE_PATHS */
  listed: readonly string[];
  /** Upstream's files by path on the volume. */
  tracked: Tree;
  log: Log;
}

/** @throws BerthError or an error of the file system */
export async function setAsideUntracked(options: Options): Promise<void> {
  const { configDirectory, stateDirectory, listed, tracked, log } = options;
  const aside = openAside(join(stateDirectory, 'conflicts'), 'init', (path, saved) => {
    const text =
      'executable configuration that upstream does not have is moved away, to be proposed';
    log.warn('config_drift', text, { path, saved });
  });
  for (const path of untrackedFiles(configDirectory, listed)) {
    if (!isExecutableConfiguration(path) || !isListed(path, listed) || tracked.has(path)) continue;
    if (neverProposed(path) !== undefined) continue;
    if ((await obstructedParent(configDirectory, path)) !== undefined) continue;
    await removeFile(configDirectory, path, aside).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
  }
}

function isMissing(error: unknown): boolean {
  return (error as { code?: unknown }).code === 'ENOENT';
}
