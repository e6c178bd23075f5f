/**
 * Plans a reconcile: decides about every path that the commit or a record names. Nothing is changed
 * here.
 * Invariant: a path that paths.ts calls unsafe is neither read nor named, whatever a record
 * contains.
 */

import { setImmediate } from 'node:timers/promises';
import { isExecutableConfiguration } from '../../shared/executable-configuration.ts';
import type { Tree, TreeEntry } from '../git/tree.ts';
import { distinguishesAll, type Fold, mayCollide, underWantedNames } from '../volume/names.ts';
import { unsafePath } from '../volume/paths.ts';
import type { FoundEntry, RecordedEntry, TreeRecord } from '../volume/record.ts';
import { volumeEntries, volumePath } from '../volume/subdirectory.ts';
import { type Action, decide } from './decide.ts';
import { inspectFile, type Local } from './local-file.ts';

/** The records by path on the volume. */
export interface Memory {
  applied: Map<string, RecordedEntry>;
  pending: Map<string, RecordedEntry>;
  found: Map<string, FoundEntry>;
  /** A run was interrupted: lstat data of a file prove nothing. */
  interrupted: boolean;
}

export interface PlanOptions {
  configDirectory: string;
  localChanges: 'merge' | 'discard';
  fold: Fold;
  /** Contents that were proposed upstream, by path on the volume. */
  proposed?: ReadonlyMap<string, ReadonlySet<string>>;
  signal: AbortSignal;
}

export interface ReconcileCounts {
  /** Files written, for any reason. */
  written: number;
  /** Of these: files that were missing or damaged. */
  restored: number;
  /** Of these: local edits that upstream's change went into. */
  merged: number;
  removed: number;
  /** Local edits that stay. */
  kept: number;
  /** Local copies saved in conflicts/ because upstream's version replaced them. */
  conflicts: number;
  /** Edits of executable configuration that upstream's version replaced. */
  drift: number;
  /** Paths of the commit that are not written. */
  skipped: number;
}

export interface Step {
  path: string;
  want: TreeEntry | undefined;
  local: Local;
  action: Action;
  /** The content to write instead of upstream's. */
  content?: Buffer;
}

export function remember({
  applied,
  pending,
}: {
  applied: TreeRecord | undefined;
  pending: TreeRecord | undefined;
}): Memory {
  return {
    applied: volumeEntries(applied),
    pending: volumeEntries(pending),
    found: new Map(Object.entries(pending?.found ?? {})),
    interrupted: pending !== undefined,
  };
}

function recordedPaths({ applied, pending, found }: Memory): Set<string> {
  return new Set([...applied.keys(), ...pending.keys(), ...found.keys()]);
}

/** Whether it matters how the volume compares names. */
export function namesMatter(memory: Memory, tree: Tree, directory: string | null): boolean {
  const paths = recordedPaths(memory);
  for (const path of tree.keys()) paths.add(volumePath(path, directory) ?? '');
  return mayCollide(paths);
}

/** Decides about every path that the commit or a record names. */
export async function plan(options: PlanOptions, memory: Memory, wanted: Tree): Promise<Step[]> {
  const { configDirectory, localChanges, fold, proposed, signal } = options;
  const { applied, pending, found, interrupted } = underNames(memory, wanted, fold);
  // A path that the volume treats as equal to a wanted path must not be removed as another file.
  const same = fold === distinguishesAll ? undefined : new Set([...wanted.keys()].map(fold));
  const others = [...recordedPaths(memory)].filter(
    (path) => !wanted.has(path) && unsafePath(path) === undefined && !same?.has(fold(path)),
  );
  signal.throwIfAborted();
  const steps: Step[] = [];
  const real = new Set<string>();
  for (const path of [...wanted.keys(), ...others]) {
    // The lease's heartbeat must not wait for a volume with very many files.
    if (steps.length % 256 === 255) {
      await setImmediate();
      signal.throwIfAborted();
    }
    const executable = isExecutableConfiguration(path);
    // Programs that the CLI ran could forge the record, so executable configuration is always read.
    const trusted = executable || interrupted ? undefined : file(applied.get(path));
    const local = inspectFile(configDirectory, path, trusted, real);
    const want = wanted.get(path);
    const situation = {
      local,
      want,
      applied: file(applied.get(path)),
      pending: file(pending.get(path)),
      found: found.get(path) ?? afterMerge(local, want, proposed?.get(path)),
      executable,
      localChanges,
    };
    steps.push({ path, want, local, action: decide(situation) });
  }
  return steps;
}

/** The local file as an edit of content that was proposed from here, and which upstream has now. */
function afterMerge(
  local: Local,
  want: TreeEntry | undefined,
  proposed: ReadonlySet<string> | undefined,
): FoundEntry | undefined {
  if (!want?.mode.startsWith('100') || local.kind !== 'file' || local.damaged) return undefined;
  if (!proposed?.has(want.oid) || local.oid === want.oid) return undefined;
  return { mode: '100644', oid: local.oid, base: want.oid };
}

/** Maps records to wanted names that the volume treats as equal. */
function underNames(memory: Memory, wanted: Tree, fold: Fold): Memory {
  if (fold === distinguishesAll) return memory;
  const { applied, pending, found } = memory;
  return {
    ...memory,
    applied: underWantedNames(applied, wanted, fold),
    pending: underWantedNames(pending, wanted, fold),
    found: underWantedNames(found, wanted, fold),
  };
}

/** berth never wrote a submodule. */
export function file(entry: RecordedEntry | undefined): RecordedEntry | undefined {
  return entry?.mode === '160000' ? undefined : entry;
}

/** The counts of the steps; saved and skipped paths are counted elsewhere. */
export function count(steps: readonly Step[]): Omit<ReconcileCounts, 'conflicts' | 'skipped'> {
  const of = (test: (action: Action) => boolean) =>
    steps.filter(({ action }) => test(action)).length;
  const because = (reason: string) => (action: Action) =>
    'reason' in action && action.reason === reason;
  return {
    written: of(({ kind }) => kind === 'write'),
    restored: of(because('restored')),
    merged: of(because('merged')),
    removed: of(({ kind }) => kind === 'remove'),
    kept: of(({ kind }) => kind === 'keep'),
    drift: of(because('drift')),
  };
}
