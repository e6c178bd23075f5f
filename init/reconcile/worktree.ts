/**
 * Reconciling: makes the tracked paths of the volume equal to the commit, by the rules of
 * decide.ts, and leaves everything else alone.
 * Invariants: `pending.json` is written before the first change and `applied.json` after the last
 * one, and each path changes by a rename. So, if a run is killed at any point, the next run reaches
 * the same state. No symlink is followed, and no unsafe path (paths.ts) is written.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError, systemCode } from '../../shared/errors.ts';
import { inside, unwritable } from '../../shared/files.ts';
import type { Lease } from '../../shared/lease.ts';
import type { Log } from '../../shared/log.ts';
import type { Owner } from '../../shared/owner.ts';
import { forEachParallel } from '../../shared/parallel.ts';
import type { Aside } from '../../shared/set-aside.ts';
import type { LaidOut, LargeFiles } from '../git/large-object.ts';
import type { Commit, Tree } from '../git/tree.ts';
import { distinguishesAll, foldOf, knowsSymlinks } from '../volume/names.ts';
import { appliedFile, pendingFile, type TreeRecord, writeTreeRecord } from '../volume/record.ts';
import { Bases } from './bases.ts';
import type { Action } from './decide.ts';
import { keepBases, mergeEdits } from './edits.ts';
import { keepGoodSettings, type SettingsOutcome } from './keep-settings.ts';
import { isEditedSince, keepPrevious, stageContents } from './live.ts';
import type { Status } from './local-file.ts';
import {
  count,
  type Memory,
  namesMatter,
  plan,
  type ReconcileCounts,
  remember,
  type Step,
} from './plan.ts';
import { foundBy, recordOf } from './record-of.ts';
import { selectFiles } from './select.ts';
import {
  clearWay,
  isPointer,
  makeParents,
  moveEntry,
  removeFile,
  setMode,
  syncDirectories,
  writeEntry,
} from './write-entry.ts';

export interface ReconcileOptions {
  configDirectory: string;
  stateDirectory: string;
  repository: string;
  ref: string | undefined;
  /** BERTH_REPO_PATH */
  directory: string | undefined;
  localChanges: 'merge' | 'discard';
  /** BERTH_INVALID_SETTINGS */
  invalidSettings: 'keep' | 'fail';
  /** When the commit was fetched from the server. */
  fetchedAt: Date;
  commit: Commit;
  applied: TreeRecord | undefined;
  pending: TreeRecord | undefined;
  readBlob: (oid: string) => Promise<Buffer>;
  /** The large blobs that were received, to be moved to their paths. */
  largeFiles?: LargeFiles;
  conflicts: Aside;
  /** Contents that were proposed upstream, by path on the volume. */
  proposed?: ReadonlyMap<string, ReadonlySet<string>>;
  lease: Pick<Lease, 'assertHeld'>;
  signal: AbortSignal;
  log: Log;
  /**
   * Set while sessions use the volume (live.ts). `isGood`: whether workers have started with a
   * commit.
   */
  live?: { isGood: (commit: string) => boolean } | undefined;
}

export interface Reconciled {
  counts: ReconcileCounts;
  /** Upstream's files by path on the volume. */
  tracked: Tree;
  /** Undefined if settings.json is good, or there is none. */
  settings: SettingsOutcome | undefined;
  /** Owners of the unchanged files, by full path. */
  owners: ReadonlyMap<string, Owner>;
}

const width = 16;

/**
 * @throws BerthError `volume_unwritable`, `lease_held`, `configuration_invalid`, or an error of
 * `readBlob`
 */
export async function reconcile(options: ReconcileOptions): Promise<Reconciled> {
  const { configDirectory, stateDirectory, conflicts, commit, directory = null } = options;
  const savedBefore = conflicts.count;
  try {
    const memory = remember(options);
    const matter = namesMatter(memory, commit.tree, directory);
    const fold = matter ? await foldOf(configDirectory) : distinguishesAll;
    const hasSymlinks = [...commit.tree.values()].some(({ mode }) => mode === '120000');
    const symlinks = hasSymlinks ? await knowsSymlinks(configDirectory) : true;
    const select = { ...options, ...memory, directory, fold, symlinks };
    const selection = await selectFiles(select);
    const settings = await keepGoodSettings(options, memory, selection.wanted);
    const good = settings?.good;
    const steps = await plan({ ...options, fold }, memory, selection.wanted);
    const edits = { ...options, bases: new Bases(stateDirectory) };
    await mergeEdits(edits, steps);
    for (const step of steps) report(step, options.log);
    const needed = await keepBases(edits, steps);
    const changes = steps.filter(({ action }) => isChange(action));
    if (changes.length > 0 || !isRecorded(options, memory, steps)) {
      const facts = {
        ...options,
        directory,
        unsafe: selection.unsafe,
        absent: selection.absent,
        steps,
        kept: good?.oid,
      };
      const readBlob = async (oid: string) =>
        good?.oid === oid ? good.content : options.readBlob(oid);
      const staged = options.live && (await stageContents(options, changes, readBlob));
      if (options.live) {
        await keepPrevious(options, changes, { ...options, ...options.live, wanted: commit.id });
      }
      await publish(options, pendingFile, {
        ...recordOf(facts, new Map()),
        found: foundBy(memory, steps),
      });
      const written = await apply({ ...options, readBlob }, changes, staged);
      const found = statuses(steps, written);
      await publish(options, appliedFile, recordOf({ ...facts, steps: [] }, found));
      // If a power cut brings the file back, the next run finds its work done.
      await rm(join(stateDirectory, pendingFile), { force: true });
    }
    await edits.bases.prune(needed);
    return {
      counts: {
        ...count(steps),
        conflicts: conflicts.count - savedBefore,
        skipped: selection.skipped,
      },
      tracked: selection.wanted,
      settings: settings?.outcome,
      owners: ownersOf(configDirectory, steps),
    };
  } catch (error) {
    if (error instanceof BerthError || systemCode(error) === undefined) throw error;
    throw unwritable(configDirectory, error);
  }
}

/**
 * Removals first, the deepest first, so that a directory can become a file and the reverse.
 * @returns lstat data of the files written
 */
async function apply(
  options: ReconcileOptions,
  changes: readonly Step[],
  staged?: ReadonlyMap<string, LaidOut>,
): Promise<Map<string, Status>> {
  const { configDirectory: root, conflicts, signal, readBlob, largeFiles, log } = options;
  const isLate = (step: Step) => staged !== undefined && isEditedSince(root, step);
  const removals = changes.filter(({ action }) => action.kind === 'remove');
  for (const step of removals.sort((a, b) => b.path.length - a.path.length)) {
    signal.throwIfAborted();
    const { path, action } = step;
    const save = (action.kind === 'remove' && action.save) || isLate(step);
    await removeFile(root, path, save ? conflicts : undefined);
  }
  const writes = changes.filter(({ action }) => action.kind === 'write');
  for (const { path, action } of writes) {
    const save = action.kind === 'write' && action.save;
    await clearWay(root, path, save, conflicts);
  }
  await makeParents(
    root,
    writes.map(({ path }) => path),
  );
  const written = new Map<string, Status>();
  await forEachParallel(writes, width, signal, async (step) => {
    const { path, want, content: merged } = step;
    if (!want) return;
    const isPlain = !merged && want.mode !== '120000';
    const file = staged?.get(path) ?? (isPlain ? largeFiles?.take(want.oid) : undefined);
    if (isLate(step)) await conflicts.save(inside(root, path), path);
    const moved = file && (await moveEntry(root, path, want, file));
    if (moved) {
      written.set(path, moved);
      return;
    }
    const content = merged ?? (await readBlob(want.oid));
    const status = await writeEntry(root, path, want, content);
    if (status) written.set(path, status);
    if (isPointer(content)) {
      log.warn('lfs_pointer', 'wrote only the pointer of an LFS file; berth does not fetch LFS', {
        path,
      });
    }
  });
  await syncDirectories(
    root,
    writes.map(({ path }) => path),
  );
  for (const { path, want, action } of changes) {
    const isMode = action.kind === 'mode' || action.kind === 'keep';
    if (isMode && want) await setMode(root, path, want);
  }
  return written;
}

function isChange(action: Action): boolean {
  return action.kind === 'keep' ? action.mode === true : action.kind !== 'nothing';
}

function ownersOf(root: string, steps: readonly Step[]): Map<string, Owner> {
  const owners = new Map<string, Owner>();
  for (const { path, want, local, action } of steps) {
    // An unwanted file may have been moved away for a path below it.
    const stays = want !== undefined && !isChange(action);
    if (stays && local.kind === 'file' && local.owner) owners.set(inside(root, path), local.owner);
  }
  return owners;
}

/** Whether `applied.json` already has this content and need not be written again. */
function isRecorded(
  { applied, pending, commit, repository, ref, directory }: ReconcileOptions,
  memory: Memory,
  steps: readonly Step[],
): boolean {
  if (pending || applied?.commit !== commit.id) return false;
  if (applied.repository !== repository || applied.ref !== (ref ?? null)) return false;
  if (applied.directory !== (directory ?? null)) return false;
  return steps.every(({ path, local, action }) => {
    const entry = memory.applied.get(path);
    if (local.kind !== 'file' || action.kind === 'keep') return true;
    const { size, mtime, inode } = local.status;
    return entry?.size === size && entry.mtime === mtime && entry.inode === inode;
  });
}

async function publish(options: ReconcileOptions, name: string, value: TreeRecord): Promise<void> {
  await writeTreeRecord(options.stateDirectory, name, value, {
    beforeRename: () => options.lease.assertHeld(),
  });
}

/**
 * The lstat data of each file that equals upstream's. They are from the time at which the file was
 * read or written, not from now: a session may have edited or removed the file since then.
 */
function statuses(steps: readonly Step[], written: ReadonlyMap<string, Status>) {
  const found = new Map<string, Status>();
  for (const { path, want, local, action, content } of steps) {
    if (!want || action.kind === 'keep' || content) continue;
    const seen = local.kind === 'file' ? local.status : undefined;
    const status = action.kind === 'write' ? written.get(path) : seen;
    if (status) found.set(path, status);
  }
  return found;
}

function report({ path, action }: Step, log: Log): void {
  if (action.kind === 'keep') {
    log.info('local_change', 'kept a local edit; upstream has not changed the file', { path });
  } else if ('reason' in action && action.reason === 'drift') {
    log.warn(
      'config_drift',
      "executable configuration was edited; upstream's version replaces it",
      { path },
    );
  } else if ('reason' in action && action.reason === 'restored') {
    log.warn('volume_repaired', 'restored a tracked file that was missing or damaged', { path });
  }
}
