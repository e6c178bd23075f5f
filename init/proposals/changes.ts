/**
 * Finds what changed on the volume: edits of tracked files, new files below BERTH_PROPOSE_PATHS, and
 * saved edits of executable configuration, which is not kept in effect.
 * Invariants: only text up to 256 KiB is a change; other changes are left out with a reason. A
 * damaged or missing file is no change, because init restores such a file. Nothing is written.
 */
import { join } from 'node:path';
import { isExecutableConfiguration } from '../../shared/executable-configuration.ts';
import { objectId } from '../git/pack-format.ts';
import { inspectFile } from '../reconcile/local-file.ts';
import { isText } from '../reconcile/merge-text.ts';
import type { RecordedEntry, TreeRecord } from '../volume/record.ts';
import { repositoryPath, volumePath } from '../volume/subdirectory.ts';
import { entriesOf } from './directory-entries.ts';
import { isListed, neverProposed } from './paths.ts';
import { findSavedCopies } from './saved-copies.ts';
import { readVolumeFile } from './volume-file.ts';

export interface Change {
  /** In the repository. */
  path: string;
  kind: 'edited' | 'new';
  /** Executable configuration, which the volume does not keep. */
  saved: boolean;
  content: Buffer;
  /** Git's id of `content`. */
  oid: string;
  mode: '100644' | '100755';
  changedAt: Date;
  /** Upstream's content; undefined for a new file. */
  upstream: string | undefined;
}

export const leftOutReasons = [
  'secret',
  'too_large',
  'binary',
  'name',
  'too_many',
  'conflict',
] as const;
export interface LeftOut {
  /** In the repository. Empty if it must not be shown: a name that is not plain, or one that may have a secret. */
  path: string;
  reason: (typeof leftOutReasons)[number];
}

export interface ChangesOptions {
  configDirectory: string;
  stateDirectory: string;
  /** The commit on the volume. */
  record: TreeRecord;
  /** BERTH_PROPOSE_PATHS */
  listed: readonly string[];
  /** When proposals were turned on. */
  since: Date;
  signal: AbortSignal;
}

/** Bytes of one file. */
export const largestFile = 256 * 1024;
/** Bytes of all changes of a pass: a volume with very many new files must not use up the memory. */
const mostBytes = 8 * 1024 * 1024;
/** The most entries of directories that are read. */
const mostEntries = 20_000;

export async function findChanges(
  options: ChangesOptions,
): Promise<{ changes: Change[]; leftOut: LeftOut[] }> {
  const { configDirectory, stateDirectory, record, listed, since, signal } = options;
  const changes = new Map<string, Change>();
  const leftOut = new Map<string, LeftOut>();
  const tracked = trackedFiles(record);
  const upstreams = upstreamPaths(record);
  let bytes = 0;
  const toRepository = (file: string) => repositoryPath(file, record.directory);

  const add = async (file: string, root: string, from: string, saved: boolean): Promise<void> => {
    const upstream = tracked.get(file);
    const path = upstream?.path ?? toRepository(file);
    if (path === undefined || neverProposed(file) === 'its name is not plain') {
      leftOut.set(file, { path: '', reason: 'name' });
      return;
    }
    if (neverProposed(file) !== undefined) return;
    signal.throwIfAborted();
    if (bytes > mostBytes) {
      leftOut.set(file, { path, reason: 'too_many' });
      return;
    }
    const read = await readVolumeFile(root, from, largestFile);
    if (read === undefined) return;
    if (read === 'too_large') {
      leftOut.set(file, { path, reason: 'too_large' });
      return;
    }
    const { content, executable, changedAt } = read;
    bytes += content.length;
    const oid = objectId('blob', content);
    const other = changes.get(file);
    if (oid === upstream?.entry.oid || content.length === 0) return;
    if (other && other.changedAt > changedAt) return;
    if (!isText(content)) {
      leftOut.set(file, { path, reason: 'binary' });
      return;
    }
    leftOut.delete(file);
    const mode = upstream?.entry.mode === '100755' || (!upstream && executable);
    changes.set(file, {
      path,
      kind: upstream ? 'edited' : 'new',
      saved,
      content,
      oid,
      mode: mode ? '100755' : '100644',
      changedAt,
      upstream: upstream?.entry.oid,
    });
  };

  const real = new Set<string>();
  for (const [file, { entry }] of tracked) {
    if (neverProposed(file) === 'it is reserved') continue;
    const local = inspectFile(configDirectory, file, entry, real);
    if (local.kind !== 'file' || local.damaged || local.oid === entry.oid) continue;
    await add(file, configDirectory, file, isExecutableConfiguration(file));
  }
  const isBelowFile = (file: string) => {
    for (let end = file.lastIndexOf('/'); end > 0; end = file.lastIndexOf('/', end - 1)) {
      if (tracked.has(file.slice(0, end))) return true;
    }
    return false;
  };
  const isNew = (file: string) => {
    const path = toRepository(file);
    const below = path === undefined ? undefined : withoutDirectory(path, record.directory);
    return (
      below !== undefined && isListed(below, listed) && !upstreams.has(file) && !isBelowFile(file)
    );
  };
  for (const file of untrackedFiles(configDirectory, listed)) {
    if (isNew(file)) await add(file, configDirectory, file, isExecutableConfiguration(file));
  }
  const conflicts = join(stateDirectory, 'conflicts');
  for (const [file, { saved }] of findSavedCopies(stateDirectory, since)) {
    if (tracked.has(file) || isNew(file)) await add(file, conflicts, saved, true);
  }
  const byPath = (a: { path: string }, b: { path: string }) => (a.path < b.path ? -1 : 1);
  return {
    changes: [...changes.values()].sort(byPath),
    leftOut: [...leftOut.values()].sort(byPath),
  };
}

interface Tracked {
  /** In the repository. */
  path: string;
  entry: RecordedEntry;
}

/** Upstream's regular files by path on the volume. */
function trackedFiles({ entries, directory }: TreeRecord): Map<string, Tracked> {
  const tracked = new Map<string, Tracked>();
  for (const [path, entry] of Object.entries(entries)) {
    const file = volumePath(path, directory);
    const isWritten = !entry.unsafe && !entry.absent;
    if (file !== undefined && entry.mode.startsWith('100') && isWritten) {
      tracked.set(file, { path, entry: { ...entry, oid: entry.kept ?? entry.oid } });
    }
  }
  return tracked;
}

/**
 * Paths on the volume where a new file would replace something of upstream: every entry, also
 * symlinks, and every directory above.
 */
function upstreamPaths({ entries, directory }: TreeRecord): Set<string> {
  const paths = new Set<string>();
  for (const path of Object.keys(entries)) {
    let at = volumePath(path, directory) ?? '';
    for (; at !== '' && !paths.has(at); at = at.slice(0, Math.max(0, at.lastIndexOf('/')))) {
      paths.add(at);
    }
  }
  return paths;
}

function withoutDirectory(path: string, directory: string | null): string {
  return directory === null ? path : path.slice(directory.length + 1);
}

/** The files of the volume at and below the listed paths; symlinks are not followed. */
export function untrackedFiles(root: string, listed: readonly string[]): string[] {
  const files: string[] = [];
  let looked = 0;
  const look = (first: string): void => {
    // Only one directory is open at a time.
    const waiting = [first];
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      for (const entry of entriesOf(join(root, at))) {
        if (++looked > mostEntries) return;
        const path = `${at}/${entry.name}`;
        if (entry.isDirectory()) waiting.push(path);
        else if (entry.isFile()) files.push(path);
      }
    }
  };
  for (const one of listed) {
    if (!one.endsWith('/')) files.push(one);
    else look(one.slice(0, -1));
    if (!one.startsWith('memory/') && one !== 'memory/') continue;
    for (const { name } of entriesOf(join(root, 'projects'))) {
      if (++looked > mostEntries) break;
      look(`projects/${name}/memory`);
    }
  }
  return files;
}
