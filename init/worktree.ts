/**
 * Reconciling: makes the tracked paths of the volume what the commit has, by the rules of decide.ts,
 * and leaves everything else alone.
 * Always holds: `pending.json` stands before the first change and `applied.json` is replaced after the
 * last one; each path changes by a rename; so, killed anywhere, the next run ends in the same state.
 * No symlink is followed, and no path is written that paths.ts calls unsafe.
 */
import { lstat, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError, systemCode } from '../shared/errors.ts';
import { inside, syncDirectory, unwritable } from '../shared/files.ts';
import type { Lease } from '../shared/lease.ts';
import type { Log } from '../shared/log.ts';
import { type Action, decide } from './decide.ts';
import { type Local, lookAt, statusOf } from './local-file.ts';
import { forEachParallel } from './parallel.ts';
import { isExecutableConfiguration, unsafePath } from './paths.ts';
import { clearWay, isPointer, makeDirectories, removeFile, setMode, writeEntry } from './place.ts';
import {
  appliedFile,
  pendingFile,
  type RecordedEntry,
  type TreeRecord,
  writeTreeRecord,
} from './record.ts';
import { type Selection, selectFiles } from './select.ts';
import type { Aside } from './set-aside.ts';
import type { TreeEntry } from './tree.ts';
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

export interface ReconcileCounts {
  /** Files written, for whatever reason. */
  written: number;
  /** Of these: files that were missing or damaged. */
  restored: number;
  removed: number;
  /** Local edits that stay. */
  kept: number;
  /** Local copies saved in conflicts/ because upstream took their place. */
  conflicts: number;
  /** Edits of executable configuration that upstream took the place of. */
  drift: number;
  /** Paths of the commit that are not written. */
  skipped: number;
}

interface Step {
  path: string;
  want: TreeEntry | undefined;
  local: Local;
  action: Action;
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
      const found = await statuses(options, steps);
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

/** Looks at every path that the commit or a record names, and decides. */
async function plan(options: ReconcileOptions, wanted: Map<string, TreeEntry>): Promise<Step[]> {
  const applied = options.applied?.entries ?? {};
  const pending = options.pending?.entries ?? {};
  const recorded = [...Object.keys(applied), ...Object.keys(pending)];
  const paths = [...new Set([...wanted.keys(), ...recorded])].filter(
    (path) => unsafePath(path) === undefined,
  );
  const steps: Step[] = new Array(paths.length);
  await forEachParallel(paths, width, options.signal, async (path, index) => {
    const executable = isExecutableConfiguration(path);
    const want = wanted.get(path);
    // The record could be forged by what the CLI ran, so executable configuration is always read.
    const trusted = executable || options.pending ? undefined : own(applied, path);
    const local = await lookAt(options.configDirectory, path, trusted);
    const action = decide({
      local,
      want,
      applied: own(applied, path),
      pending: own(pending, path),
      executable,
    });
    steps[index] = { path, want, local, action };
  });
  return steps;
}

function own(entries: Record<string, RecordedEntry>, path: string): RecordedEntry | undefined {
  const entry = Object.hasOwn(entries, path) ? entries[path] : undefined;
  return entry?.mode === '160000' ? undefined : entry;
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
async function statuses(
  options: ReconcileOptions,
  steps: readonly Step[],
): Promise<Map<string, object>> {
  const found = new Map<string, object>();
  await forEachParallel(steps, width, options.signal, async ({ path, want, action }) => {
    if (!want || want.mode === '120000' || action.kind === 'keep') return;
    found.set(path, statusOf(await lstat(inside(options.configDirectory, path))));
  });
  return found;
}

function count(steps: readonly Step[]): Omit<ReconcileCounts, 'conflicts' | 'skipped'> {
  const of = (test: (action: Action) => boolean) =>
    steps.filter(({ action }) => test(action)).length;
  const because = (reason: string) => (action: Action) =>
    'reason' in action && action.reason === reason;
  return {
    written: of(({ kind }) => kind === 'write'),
    restored: of(because('restored')),
    removed: of(({ kind }) => kind === 'remove'),
    kept: of(({ kind }) => kind === 'keep'),
    drift: of(because('drift')),
  };
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
