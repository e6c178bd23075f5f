/**
 * Local edits: those that upstream changed too are merged against the blob they were made from, and
 * for those that stay this blob is kept. Always holds: what cannot be merged, for whatever reason,
 * becomes a conflict, where upstream wins and the edit is saved.
 */
import { BerthError } from '../../shared/errors.ts';
import { inside, readFileBounded } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
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

/** Gives every `merge` its outcome; the merged text is not yet written. */
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
  log.info('local_change', 'a local edit and upstream’s change of the file are merged', { path });
  return merged;
}

/** Keeps what the edits that stay were made from. @returns the ids that are needed from now on */
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
      // Without the server a base may be out of reach; a later merge is then a conflict.
      if (!(error instanceof BerthError) || !error.code.startsWith('remote_')) throw error;
    }
  }
  return needed;
}

async function readLocal(root: string, path: string): Promise<Buffer | undefined> {
  return readFileBounded(inside(root, path), largestText).catch(() => undefined);
}
