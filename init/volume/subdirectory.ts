/**
 * BERTH_REPO_PATH: the directory of the repository that becomes the content of the volume. A path
 * in the repository and its path on the volume differ only by that directory.
 */
import { BerthError } from '../../shared/errors.ts';
import type { Tree } from '../git/tree.ts';
import type { RecordedEntry, TreeRecord } from './record.ts';

/** The path on the volume for a path of the repository; undefined if it is outside `directory`. */
export function volumePath(path: string, directory: string | null): string | undefined {
  if (directory === null) return path;
  return path.startsWith(`${directory}/`) ? path.slice(directory.length + 1) : undefined;
}

/** The entries of a record by path on the volume, with the content that berth wrote. */
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
  const what = tree.has(directory) ? 'is a file' : 'does not exist';
  throw new BerthError(
    'remote_refused',
    `cannot use the directory ${directory} of the repository: at ${id.slice(0, 7)} it ${what}; correct BERTH_REPO_PATH`,
  );
}
