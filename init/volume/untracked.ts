/**
 * Executable configuration on the volume that is not upstream's. It is never touched, for the CLI
 * keeps things of its own there (plugins); it is reported, for a prompt injection could have put it there.
 */
import { type Dirent, readdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  executableDirectories,
  isExecutableConfiguration,
} from '../../shared/executable-configuration.ts';
import type { Log } from '../../shared/log.ts';
import type { Tree } from '../git/tree.ts';

/** More than these are not looked at: the plugins' caches can be large. */
const mostLooked = 5_000;
const mostNamed = 20;

/** Names the untracked ones in one log line. @returns how many there are */
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
    log.warn('config_drift', 'there is executable configuration that upstream does not have', {
      count: found.length,
      paths: found.slice(0, mostNamed),
    });
  }
  return found.length;
}

/** None where there is no directory, or none that may be read. */
function list(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    return [];
  }
}
