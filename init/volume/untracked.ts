/**
 * Reports executable configuration on the volume that is not upstream's. It is never touched,
 * because the CLI keeps files of its own there (plugins). It is reported, because a prompt
 * injection could have written it.
 */
import { type Dirent, readdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  executableDirectories,
  isExecutableConfiguration,
} from '../../shared/executable-configuration.ts';
import type { Log } from '../../shared/log.ts';
import type { Tree } from '../git/tree.ts';

/** The maximum number of entries: the plugins' caches can be large. */
const mostLooked = 5_000;
const mostNamed = 20;

/** Names the untracked files in one log line. @returns their number */
export function reportUntracked(root: string, tree: Tree, log: Log): number {
  const found: string[] = [];
  let looked = 0;
  const look = (directory: string): void => {
    for (const entry of list(join(root, directory))) {
      const path = directory === '' ? entry.name : `${directory}/${entry.name}`;
      if (++looked > mostLooked) return;
      if (entry.isDirectory()) {
        const inside = directory !== '' || executableDirectories.some((name) => name === path);
        if (inside) look(path);
      } else if (isExecutableConfiguration(path) && !tree.has(path)) found.push(path);
    }
  };
  look('');
  if (found.length > 0) {
    log.warn(
      'config_drift',
      'executable configuration exists on the volume that upstream does not have',
      {
        count: found.length,
        paths: found.slice(0, mostNamed),
      },
    );
  }
  return found.length;
}

/** Empty without a readable directory. */
function list(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    return [];
  }
}
