/**
 * Which files of a commit are written: all but those that paths.ts calls unsafe, submodules, and
 * symlinks that would leave the volume. Each one left out is named in the log.
 */
import type { Log } from '../shared/log.ts';
import { unsafePath, unsafeTarget } from './paths.ts';
import type { TreeRecord } from './record.ts';
import type { Tree } from './tree.ts';

export interface Selection {
  wanted: Tree;
  /** Symlinks left out for their targets, remembered so that they need not be read again. */
  unsafe: Set<string>;
}

interface SelectOptions {
  commit: { tree: Tree };
  applied: TreeRecord | undefined;
  readBlob: (oid: string) => Promise<Buffer>;
  log: Log;
}

export async function selectFiles(options: SelectOptions): Promise<Selection> {
  const { commit, log } = options;
  const selection: Selection = { wanted: new Map(), unsafe: new Set() };
  for (const [path, entry] of commit.tree) {
    let why = entry.mode === '160000' ? 'it is a submodule' : unsafePath(path);
    // A tree made by hand can have a file in the place of a directory.
    why ??= parentsOf(path).some((parent) => commit.tree.has(parent))
      ? 'the repository has a file in the place of its directory'
      : undefined;
    if (why === undefined && entry.mode === '120000') {
      why = await symlinkProblem(options, path, entry.oid);
      if (why !== undefined) selection.unsafe.add(path);
    }
    if (why === undefined) selection.wanted.set(path, entry);
    else log.warn('path_skipped', 'a path of the repository is not written', { path, why });
  }
  return selection;
}

async function symlinkProblem(
  { applied, readBlob }: SelectOptions,
  path: string,
  oid: string,
): Promise<string | undefined> {
  const known = applied && Object.hasOwn(applied.entries, path) ? applied.entries[path] : undefined;
  if (known?.mode === '120000' && known.oid === oid) {
    return known.unsafe ? 'it points outside the volume' : undefined;
  }
  return unsafeTarget(path, (await readBlob(oid)).toString('utf8'));
}

function parentsOf(path: string): string[] {
  const parts = path.split('/').slice(0, -1);
  return parts.map((_, depth) => parts.slice(0, depth + 1).join('/'));
}
