/**
 * Maps paths of the repository to paths of the volume, and back. The two differ by BERTH_REPO_PATH,
 * the directory of the repository that becomes the content of the volume, and by the folders of the
 * CLI's memory: `memory/-workspace/` of the repository is `projects/-workspace/memory/` on the
 * volume. The name of such a folder is a working directory with dashes, so it starts with a dash.
 * Invariant: if both paths are in the repository, the longer one wins, which comes last in a tree.
 */
import { BerthError } from '../../shared/errors.ts';
import type { Tree } from '../git/tree.ts';
import type { RecordedEntry, TreeRecord } from './record.ts';

/** The path on the volume for a path of the repository; undefined if it is outside `directory`. */
export function volumePath(path: string, directory: string | null): string | undefined {
  if (directory === null) return withMemory(path);
  if (!path.startsWith(`${directory}/`)) return undefined;
  return withMemory(path.slice(directory.length + 1));
}

/** The path in the repository for a path of the volume; undefined if there is none. */
export function repositoryPath(path: string, directory: string | null): string | undefined {
  const plain = path.replace(/^projects\/(-[A-Za-z0-9-]*)\/memory\//, 'memory/$1/');
  return withMemory(plain) === path
    ? `${directory === null ? '' : `${directory}/`}${plain}`
    : undefined;
}

function withMemory(path: string): string {
  if (!path.startsWith('memory/-')) return path;
  return path.replace(/^memory\/(-[A-Za-z0-9-]*)\//, 'projects/$1/memory/');
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
