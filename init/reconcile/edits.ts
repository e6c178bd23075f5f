/**
 * Handles local edits: edits of files that upstream changed too are merged with their base, and for
 * edits that stay the base is kept.
 * Invariant: an edit that cannot be merged for any reason becomes a conflict: upstream wins, and
 * the edit is saved.
 */
import { BerthError } from '../../shared/errors.ts';
import { readOpenFile } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { openInside } from '../../shared/open-inside.ts';
import { objectId } from '../git/pack-format.ts';
import type { Bases } from './bases.ts';
import { conflict } from './decide.ts';
import { isText, largestText, mergeText } from './merge-text.ts';
import type { Step } from './plan.ts';

export interface EditOptions {
  configDirectory: string;
  bases: Bases;
  readBlob: (oid: string) => Promise<Buffer>;
  log: Log;
}

/** Decides the result of every `merge`; the merged text is not written yet. */
export async function mergeEdits(options: EditOptions, steps: readonly Step[]): Promise<void> {
  for (const step of steps) {
    if (step.action.kind !== 'merge') continue;
    const merged = await merge(options, step, step.action.base);
    if (merged === undefined) step.action = conflict;
    else {
      step.action = { kind: 'write', reason: 'merged', save: false };
      step.content = merged;
    }
  }
}

async function merge(
  { configDirectory, bases, readBlob, log }: EditOptions,
  { path, local, want }: Step,
  baseId: string,
): Promise<Buffer | undefined> {
  const base = await bases.read(baseId);
  const edit = await readLocal(configDirectory, path);
  if (!base || !want || local.kind !== 'file' || !edit) return undefined;
  if (objectId('blob', edit) !== local.oid) return undefined;
  const merged = mergeText(base, edit, await readBlob(want.oid));
  if (merged === undefined) return undefined;
  log.info('local_change', 'merged a local edit with upstream’s change of the file', { path });
  return merged;
}

/** Keeps the bases of the edits that stay. @returns the ids that are needed from now on */
export async function keepBases(
  options: EditOptions,
  steps: readonly Step[],
): Promise<Set<string>> {
  const { bases, configDirectory, readBlob } = options;
  const needed = new Set<string>();
  for (const { path, want, action, content } of steps) {
    const stays = action.kind === 'keep' || content !== undefined;
    if (!stays || !want || needed.has(want.oid)) continue;
    needed.add(want.oid);
    if (await bases.read(want.oid)) continue;
    const edit = content ?? (await readLocal(configDirectory, path));
    if (!edit || !isText(edit)) continue;
    try {
      await bases.keep(want.oid, await readBlob(want.oid));
    } catch (error) {
      // Without the server a base may be unavailable; a later merge is a conflict then.
      if (!(error instanceof BerthError) || !error.code.startsWith('remote_')) throw error;
    }
  }
  return needed;
}

async function readLocal(root: string, path: string): Promise<Buffer | undefined> {
  const opened = await openInside(root, path).catch(() => undefined);
  if (!opened) return undefined;
  const { file } = opened;
  try {
    return await readOpenFile(file, path, largestText);
  } catch {
    return undefined;
  } finally {
    await file.close();
  }
}
