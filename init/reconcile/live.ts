/**
 * What reconciling does in addition while sessions use the volume.
 * Invariants: every new content is on the volume, durable, before the first path changes: a full
 * volume changes nothing, and all paths change within a moment. The replaced files are kept, so that
 * the commit before can be restored without the git server. A file that was edited since the plan
 * was made is saved before it is replaced. Only the file that the plan has seen is kept: a tool that
 * replaces a directory by a symlink cannot make this process copy another file.
 */
import { lstatSync, type Stats } from 'node:fs';
import { link, lstat, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError, systemCode } from '../../shared/errors.ts';
import { inside, makeDirectories, unwritable } from '../../shared/files.ts';
import { copyOpenFile, openInside } from '../../shared/open-inside.ts';
import { forEachParallel } from '../../shared/parallel.ts';
import type { LaidOut } from '../git/large-object.ts';
import { type TreeRecord, writeTreeRecord } from '../volume/record.ts';
import { type Status, statusOf } from './local-file.ts';
import type { Step } from './plan.ts';
import { replaceFile } from './replace-file.ts';

/** In berth's state: new content that has not been moved to its path yet. */
const stageDirectory = 'stage';
/** In berth's state: the files and the record of the last commit with which workers started. */
export const previousDirectory = 'previous';
export const previousRecord = 'record.json';

interface Place {
  configDirectory: string;
  stateDirectory: string;
  signal: AbortSignal;
}

const width = 8;

/** Writes the new contents beside their paths. @returns the staged files by path */
export async function stageContents(
  { stateDirectory, signal }: Place,
  changes: readonly Step[],
  readBlob: (oid: string) => Promise<Buffer>,
): Promise<Map<string, LaidOut>> {
  const stage = join(stateDirectory, stageDirectory);
  const staged = new Map<string, LaidOut>();
  try {
    await rm(stage, { recursive: true, force: true });
    await mkdir(stage, { mode: 0o700 });
    const writes = changes.filter(
      ({ action, want }) => action.kind === 'write' && want && want.mode !== '120000',
    );
    const numbered = writes.map((step, index) => ({ ...step, file: join(stage, String(index)) }));
    await forEachParallel(numbered, width, signal, async ({ path, want, content, file }) => {
      const bytes = content ?? (await readBlob(want?.oid ?? ''));
      await replaceFile(file, bytes, want?.mode === '100755' ? 0o755 : 0o644);
      const { ino, size } = lstatSync(file);
      staged.set(path, { path: file, inode: ino, size });
    });
    return staged;
  } catch (error) {
    await rm(stage, { recursive: true, force: true }).catch(() => undefined);
    if (error instanceof BerthError || systemCode(error) === undefined) throw error;
    throw unwritable(stage, error);
  }
}

/**
 * Keeps the files that are about to be replaced or removed, by their blob ids.
 * @param applied the record of the commit that is on the volume; it becomes the record to go back
 * to if `isGood`, or if there is none yet
 * @param wanted the commit that is about to be written. If the volume has it already, the record stays
 */
export async function keepPrevious(
  { configDirectory: root, stateDirectory, signal }: Place,
  changes: readonly Step[],
  {
    applied,
    wanted,
    isGood,
  }: { applied: TreeRecord | undefined; wanted: string; isGood: (commit: string) => boolean },
): Promise<void> {
  const directory = join(stateDirectory, previousDirectory);
  const record = join(directory, previousRecord);
  try {
    const isKnown = applied !== undefined && applied.commit !== wanted && isGood(applied.commit);
    const isNew = isKnown || !lstatSync(record, { throwIfNoEntry: false });
    if (isNew) await rm(directory, { recursive: true, force: true });
    await makeDirectories(directory, 0o700);
    const replaced = changes.filter(({ local }) => local.kind === 'file');
    await forEachParallel(replaced, width, signal, async ({ path, local }) => {
      if (local.kind !== 'file') return;
      await keep(root, path, local.status, join(directory, local.oid));
    });
    if (isNew && applied) await writeTreeRecord(directory, previousRecord, applied);
  } catch (error) {
    if (error instanceof BerthError || systemCode(error) === undefined) throw error;
    throw unwritable(directory, error);
  }
}

/**
 * A hard link costs no space; the content of a path changes by a rename, so the link keeps it. A
 * file that is not kept comes from the git directory.
 * @param seen of the file that the plan has seen
 */
async function keep(root: string, path: string, seen: Status, to: string): Promise<void> {
  try {
    await link(inside(root, path), to);
    if (!isSeen(await lstat(to), seen)) await rm(to, { force: true });
  } catch (error) {
    const code = systemCode(error) ?? '';
    if (['EEXIST', 'ENOENT'].includes(code)) return;
    await keepCopy(root, path, seen, to);
  }
}

async function keepCopy(root: string, path: string, seen: Status, to: string): Promise<void> {
  const opened = await openInside(root, path);
  if (!opened) return;
  try {
    if (isSeen(opened.status, seen)) await copyOpenFile(opened, to, 0o600);
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  } finally {
    await opened.file.close();
  }
}

/** Whether the file at the path of a step is no longer the file that the plan has seen. */
export function isEditedSince(root: string, { path, local }: Step): boolean {
  const found = lstatSync(inside(root, path), { throwIfNoEntry: false });
  if (!found) return false;
  if (local.kind !== 'file') return local.kind === 'missing' && found.isFile();
  return !isSeen(found, local.status);
}

function isSeen(found: Stats, seen: Status): boolean {
  const { size, mtime, inode } = statusOf(found);
  return size === seen.size && mtime === seen.mtime && inode === seen.inode;
}
