/**
 * Finds the edits of executable configuration: they are not in effect on the volume, because the
 * supervisor and init move them to `conflicts/` (shared/set-aside.ts) at once.
 * Invariants: the newest copy of a path counts. A copy that was saved before proposals were turned
 * on is not found. Nothing here reads a file.
 */
import { type Dirent, lstatSync } from 'node:fs';
import { join } from 'node:path';
import { isExecutableConfiguration } from '../../shared/executable-configuration.ts';
import { entriesOf } from './directory-entries.ts';

export interface SavedCopy {
  /** Below `conflicts/`. */
  saved: string;
  /** Milliseconds since 1970. */
  changedAt: number;
}

/** The supervisor's directories have a directory for each file, below which the file keeps its path. */
const ofSupervisor = /Z-serve-[0-9a-f]+$/;
const mostEntries = 5_000;
/** Entries of one directory that are kept in memory, to find the newest. */
const mostListed = 20_000;

/** The newest copies of executable configuration by path on the volume. */
export function findSavedCopies(stateDirectory: string, since: Date): Map<string, SavedCopy> {
  const conflicts = join(stateDirectory, 'conflicts');
  const found = new Map<string, SavedCopy>();
  let looked = 0;
  const add = (path: string, saved: string): void => {
    const status = lstatSync(join(conflicts, saved), { throwIfNoEntry: false });
    // A move sets the time of the change of the inode: when the copy was saved.
    if (!status || status.ctimeMs < since.getTime()) return;
    const { mtimeMs: changedAt } = status;
    const other = found.get(path);
    if (!other || changedAt >= other.changedAt) found.set(path, { saved, changedAt });
  };
  const look = (directory: string, prefix: string): void => {
    const entries = list(join(conflicts, directory));
    const names = new Set(entries.map(({ name }) => name));
    for (const entry of entries) {
      if (++looked > mostEntries) return;
      const saved = `${directory}/${entry.name}`;
      if (entry.isDirectory()) look(saved, `${prefix}${entry.name}/`);
      else if (entry.isFile()) {
        const path = `${prefix}${withoutNumber(entry.name, names)}`;
        if (isExecutableConfiguration(path)) add(path, saved);
      }
    }
  };
  // The newest first, because the number of entries is bounded.
  for (const name of directoriesIn(conflicts).sort().reverse()) {
    if (!ofSupervisor.test(name)) look(name, '');
    else for (const each of directoriesIn(join(conflicts, name))) look(`${name}/${each}`, '');
  }
  return found;
}

/** The second copy of `a.md` in one directory is `a.md.1`. */
function withoutNumber(name: string, names: ReadonlySet<string>): string {
  const first = /^(.+)\.\d+$/.exec(name)?.[1];
  return first !== undefined && names.has(first) ? first : name;
}

function directoriesIn(directory: string): string[] {
  return list(directory).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
}

function list(directory: string): Dirent[] {
  return entriesOf(directory).take(mostListed).toArray();
}
