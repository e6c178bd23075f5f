/**
 * Reconciling: makes the tracked paths of the volume what the commit has, by the rules of decide.ts,
 * and leaves everything else alone.
 * Always holds: `pending.json` stands before the first change and `applied.json` is replaced after the
 * last one; each path changes by a rename; so, killed anywhere, the next run ends in the same state.
 * No symlink is followed, and no path is written that paths.ts calls unsafe.
 */
import { lstatSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError, systemCode } from '../shared/errors.ts';
import { inside, syncDirectory, unwritable } from '../shared/files.ts';
import type { Lease } from '../shared/lease.ts';
import type { Log } from '../shared/log.ts';
import { statusOf } from './local-file.ts';
import { forEachParallel } from './parallel.ts';
import {
  clearWay,
  isPointer,
  makeDirectories,
  removeFile,
  setMode,
  syncDirectories,
  writeEntry,
} from './place.ts';
import { count, plan, type ReconcileCounts, type Step } from './plan.ts';
import { appliedFile, pendingFile, type TreeRecord, writeTreeRecord } from './record.ts';
import { type Selection, selectFiles } from './select.ts';
import type { Aside } from './set-aside.ts';
import type { Commit } from './upstream.ts';

export interface ReconcileOptions {
  configDirectory: string;
  stateDirectory: string;
  repository: string;
  ref: string | undefined;
  /** When the commit was got from the server. */
  fetchedAt: Date;
  commit: Commit;
  applied: TreeRecord | undefined;
  pending: TreeRecord | undefined;
  readBlob: (oid: string) => Promise<Buffer>;
  conflicts: Aside;
  lease: Pick<Lease, 'assertHeld'>;
  signal: AbortSignal;
  log: Log;
}

const width = 16;

/** @throws BerthError `volume_unwritable`, `lease_held`, or what `readBlob` throws */
export async function reconcile(options: ReconcileOptions): Promise<ReconcileCounts> {
  const savedBefore = options.conflicts.count;
  try {
    const selection = await selectFiles(options);
    const steps = await plan(options, selection.wanted);
    const changes = steps.filter(({ action }) => !['nothing', 'keep'].includes(action.kind));
    for (const step of steps) report(step, options.log);
    if (changes.length > 0 || !isRecorded(options, steps)) {
      await publish(options, pendingFile, record(options, selection, new Map()));
      await apply(options, changes);
      const found = statuses(options, steps);
      await publish(options, appliedFile, record(options, selection, found));
      await rm(join(options.stateDirectory, pendingFile), { force: true });
      await syncDirectory(options.stateDirectory);
    }
    return {
      ...count(steps),
      conflicts: options.conflicts.count - savedBefore,
      skipped: options.commit.tree.size - selection.wanted.size,
    };
  } catch (error) {
    if (error instanceof BerthError || systemCode(error) === undefined) throw error;
    throw unwritable(options.configDirectory, error);
  }
}

/** Removals first, the deepest ahead, so that a directory can become a file and the reverse. */
async function apply(options: ReconcileOptions, changes: readonly Step[]): Promise<void> {
  const { configDirectory: root, conflicts, signal, readBlob, log } = options;
  const removals = changes.filter(({ action }) => action.kind === 'remove');
  for (const { path, action } of removals.sort((a, b) => b.path.length - a.path.length)) {
    signal.throwIfAborted();
    await removeFile(root, path, action.kind === 'remove' && action.save ? conflicts : undefined);
  }
  const writes = changes.filter(({ action }) => action.kind === 'write');
  for (const { path, action } of writes) {
    const save = action.kind === 'write' && action.save;
    await clearWay(root, path, save, conflicts);
  }
  await makeDirectories(
    root,
    writes.map(({ path }) => path),
  );
  await forEachParallel(writes, width, signal, async ({ path, want }) => {
    if (!want) return;
    const content = await readBlob(want.oid);
    await writeEntry(root, path, want, content);
    if (isPointer(content)) {
      log.warn('lfs_pointer', 'only the pointer of an LFS file is written; berth fetches no LFS', {
        path,
      });
    }
  });
  await syncDirectories(
    root,
    writes.map(({ path }) => path),
  );
  for (const { path, want, action } of changes) {
    if (action.kind === 'mode' && want) await setMode(inside(root, path), want);
  }
}

/** Whether `applied.json` says all this already, so that it need not be written again. */
function isRecorded(options: ReconcileOptions, steps: readonly Step[]): boolean {
  const { applied, pending, commit, repository, ref } = options;
  if (pending || applied?.commit !== commit.id) return false;
  if (applied.repository !== repository || applied.ref !== (ref ?? null)) return false;
  return steps.every(({ path, local, action }) => {
    const entry = applied.entries[path];
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

function record(
  options: ReconcileOptions,
  { unsafe }: Selection,
  statuses: Map<string, object>,
): TreeRecord {
  const { commit, repository, ref, fetchedAt } = options;
  return {
    version: 1,
    repository,
    ref: ref ?? null,
    commit: commit.id,
    commit_text: commit.text.toString('base64'),
    fetched_at: fetchedAt.toISOString(),
    entries: Object.fromEntries(
      [...commit.tree].map(([path, entry]) => [
        path,
        { ...entry, ...statuses.get(path), ...(unsafe.has(path) ? { unsafe: true } : {}) },
      ]),
    ),
  };
}

/** What lstat says of each of berth's own files, as they are now. */
function statuses({ configDirectory }: ReconcileOptions, steps: readonly Step[]) {
  const found = new Map<string, object>();
  for (const { path, want, action } of steps) {
    if (!want || want.mode === '120000' || action.kind === 'keep') continue;
    found.set(path, statusOf(lstatSync(inside(configDirectory, path))));
  }
  return found;
}

function report({ path, action }: Step, log: Log): void {
  if (action.kind === 'keep') {
    log.info('local_change', 'a local edit stays; upstream has not changed the file', { path });
  } else if ('reason' in action && action.reason === 'drift') {
    log.warn('config_drift', 'executable configuration was edited; upstream replaces it', { path });
  } else if ('reason' in action && action.reason === 'restored') {
    log.warn('volume_repaired', 'a tracked file was missing or damaged; it is restored', { path });
  }
}
