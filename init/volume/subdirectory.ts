/**
 * BERTH_REPO_PATH: which part of the repository becomes the content of the volume. A path in the
 * repository and its path on the volume differ by that directory and by nothing else.
 */
import { BerthError } from '../../shared/errors.ts';
import type { Tree } from '../git/tree.ts';
import type { RecordedEntry, TreeRecord } from './record.ts';

/** Where a path of the repository lies on the volume; undefined if it is not of `directory`. */
export function volumePath(path: string, directory: string | null): string | undefined {
  if (directory === null) return path;
  return path.startsWith(`${directory}/`) ? path.slice(directory.length + 1) : undefined;
}

/** The entries of a record by their paths on the volume, with the content that berth has put there. */
export function volumeEntries(
  record: Pick<TreeRecord, 'entries' | 'directory'> | undefined,
): Map<string, RecordedEntry> {
  const entries = new Map<string, RecordedEntry>();
  for (const [path, entry] of Object.entries(record?.entries ?? {})) {
    const there = volumePath(path, record?.directory ?? null);
    if (there === undefined) continue;
    entries.set(there, entry.kept === undefined ? entry : { ...entry, oid: entry.kept });
  }
  return entries;
}

/** @throws BerthError `remote_refused` if the commit has no such directory */
export function assertDirectory(
  { id, tree }: { id: string; tree: Tree },
  directory: string | undefined,
): void {
  if (directory === undefined) return;
  for (const path of tree.keys()) if (volumePath(path, directory) !== undefined) return;
  const what = tree.has(directory) ? 'is a file' : 'is not there';
  throw new BerthError(
    'remote_refused',
    `cannot use the directory ${directory} of the repository: at ${id.slice(0, 7)} it ${what}; correct BERTH_REPO_PATH`,
  );
}
