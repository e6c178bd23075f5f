/**
 * Selects the files of a commit that are written, and their paths: the files of BERTH_REPO_PATH,
 * except unsafe paths (paths.ts), submodules, symlinks that would leave the volume or that it does
 * not support, and all but the first of names that the volume treats as equal. Each excluded path
 * is logged.
 */
import type { Log } from '../../shared/log.ts';
import type { Tree } from '../git/tree.ts';
import { distinguishesAll, type Fold, losers } from '../volume/names.ts';
import { unsafePath, unsafeTarget } from '../volume/paths.ts';
import type { RecordedEntry } from '../volume/record.ts';
import { volumePath } from '../volume/subdirectory.ts';

export interface Selection {
  /** By path on the volume. */
  wanted: Tree;
  /** Symlinks excluded for their targets, recorded so that they need not be read again. */
  unsafe: Set<string>;
  /** Paths that the volume cannot hold, recorded for `--check`. */
  absent: Set<string>;
  /** The number of excluded paths. */
  skipped: number;
}

interface SelectOptions {
  commit: { tree: Tree };
  /** BERTH_REPO_PATH */
  directory: string | null;
  /** The records of the last run, by path on the volume. */
  applied: ReadonlyMap<string, RecordedEntry>;
  fold: Fold;
  /** Whether the volume supports symlinks. */
  symlinks: boolean;
  readBlob: (oid: string) => Promise<Buffer>;
  log: Log;
}

export async function selectFiles(options: SelectOptions): Promise<Selection> {
  const { commit, directory, fold, log } = options;
  const selection: Selection = {
    wanted: new Map(),
    unsafe: new Set(),
    absent: new Set(),
    skipped: 0,
  };
  const there: Tree = new Map();
  for (const [path, entry] of commit.tree) {
    const target = volumePath(path, directory);
    if (target !== undefined) there.set(target, entry);
  }
  const lost = fold === distinguishesAll ? undefined : losers(there.keys(), fold);
  const real = new Set<string>();
  for (const [path, entry] of there) {
    let why = entry.mode === '160000' ? 'it is a submodule' : unsafePath(path);
    // A tree made by hand can have a file at the path of a directory.
    why ??= isBelowFile(path, there, real)
      ? 'the repository has a file at the path of its directory'
      : undefined;
    const winner = lost?.get(path);
    if (why === undefined && winner !== undefined) {
      why = `the volume does not distinguish its name from ${winner}`;
      selection.absent.add(path);
    }
    if (why === undefined && entry.mode === '120000' && !options.symlinks) {
      why = 'the volume does not support symlinks';
      selection.absent.add(path);
    }
    if (why === undefined && entry.mode === '120000') {
      why = await symlinkProblem(options, path, entry.oid);
      if (why !== undefined) selection.unsafe.add(path);
    }
    if (why === undefined) selection.wanted.set(path, entry);
    else {
      selection.skipped += 1;
      log.warn('path_skipped', 'did not write a path of the repository', { path, why });
    }
  }
  return selection;
}

async function symlinkProblem(
  { applied, readBlob }: SelectOptions,
  path: string,
  oid: string,
): Promise<string | undefined> {
  const known = applied.get(path);
  if (known?.mode === '120000' && known.oid === oid) {
    return known.unsafe ? 'it points outside the volume' : undefined;
  }
  return unsafeTarget(path, (await readBlob(oid)).toString('utf8'));
}

/** Whether `there` has a file above `path`. @param real directories that are known to have none */
function isBelowFile(path: string, there: Tree, real: Set<string>): boolean {
  const slash = path.lastIndexOf('/');
  if (slash < 0) return false;
  const parent = path.slice(0, slash);
  if (real.has(parent)) return false;
  if (there.has(parent) || isBelowFile(parent, there, real)) return true;
  real.add(parent);
  return false;
}
