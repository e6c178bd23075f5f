/**
 * The rules of reconciling for a single path: from the local file, upstream's file and berth's
 * records to the action. Nothing here reads or writes.
 */

import type { TreeEntry } from '../git/tree.ts';
import type { FoundEntry, RecordedEntry } from '../volume/record.ts';
import type { Local, LocalFile } from './local-file.ts';
import { largestText } from './merge-text.ts';

export interface Situation {
  local: Local;
  /** Upstream's current entry; undefined without one, or if it must not be written. */
  want: TreeEntry | undefined;
  /** The entries in berth's records: applied, and about to be applied. */
  applied: TreeEntry | undefined;
  pending: (TreeEntry & Pick<RecordedEntry, 'merged'>) | undefined;
  /** Content that an interrupted run found, if neither record names it. */
  found?: FoundEntry | undefined;
  /** Whether the path is executable configuration, which never keeps an edit. */
  executable: boolean;
  /** BERTH_LOCAL_CHANGES */
  localChanges?: 'merge' | 'discard';
}

export type Reason =
  /** The path was empty, or had berth's content of an earlier commit. */
  | 'new'
  | 'updated'
  /** The file was missing, emptied, NUL-filled or of another type. */
  | 'restored'
  /** Executable configuration was edited. */
  | 'drift'
  /** An edit merged with upstream's change. */
  | 'merged'
  /** An edit that BERTH_LOCAL_CHANGES does not keep. */
  | 'discarded'
  /** Both sides changed the file incompatibly, or the base is unknown. */
  | 'conflict';

export type Action =
  | { kind: 'nothing' }
  /**
   * The edit stays: upstream has not changed the text. `mode`: the permission bits are upstream's.
   */
  | { kind: 'keep'; mode?: true }
  | { kind: 'mode' }
  /** Both sides changed the file: to be merged with this base, otherwise a `conflict`. */
  | { kind: 'merge'; base: string }
  /** `save`: the local file belongs to a person, and is saved in conflicts/ first. */
  | { kind: 'write'; reason: Reason; save: boolean }
  | { kind: 'remove'; reason: Reason; save: boolean };

export const conflict: Action = { kind: 'write', reason: 'conflict', save: true };

export function decide(situation: Situation): Action {
  const { local, want, executable } = situation;
  const known = isKnown(situation);
  const ours = isOurs(situation);
  if (want === undefined) {
    // A directory at the path of a file that upstream deleted is not berth's.
    if (local.kind === 'missing' || local.kind === 'directory' || !known) {
      return { kind: 'nothing' };
    }
    if (ours || isEmpty(local)) return { kind: 'remove', reason: 'updated', save: false };
    return { kind: 'remove', reason: executable ? 'drift' : 'conflict', save: true };
  }
  if (holds(local, want)) {
    return { kind: local.kind !== 'file' || hasMode(local, want) ? 'nothing' : 'mode' };
  }
  if (local.kind === 'missing') {
    return { kind: 'write', reason: known ? 'restored' : 'new', save: false };
  }
  if (ours) return { kind: 'write', reason: 'updated', save: false };
  // Its files were decided separately; if other files are in it, the whole directory is moved away.
  if (local.kind === 'directory') {
    return { kind: 'write', reason: known ? 'restored' : 'new', save: false };
  }
  if (local.kind !== 'file' || local.damaged) {
    return { kind: 'write', reason: 'restored', save: !isEmpty(local) };
  }
  if (executable) return { kind: 'write', reason: known ? 'drift' : 'conflict', save: true };
  return ofEdit(local, want, situation);
}

function ofEdit(local: LocalFile, want: TreeEntry, situation: Situation): Action {
  const base = baseOf(local, situation);
  if (base === undefined) return conflict;
  // An edit of a file is not one of a symlink.
  if (!isFile(base) || !isFile(want)) return { kind: 'write', reason: 'restored', save: true };
  if (situation.localChanges === 'discard') {
    return { kind: 'write', reason: 'discarded', save: true };
  }
  if (base.oid === want.oid) {
    return hasMode(local, want) ? { kind: 'keep' } : { kind: 'keep', mode: true };
  }
  return local.status.size > largestText ? conflict : { kind: 'merge', base: base.oid };
}

/** There is nothing to lose. */
function isEmpty(local: Local): boolean {
  return local.kind === 'file' && local.status.size === 0;
}

function isKnown({ applied, pending, found }: Situation): boolean {
  return [applied, pending, found].some((entry) => entry !== undefined);
}

/** Whether berth wrote the local content, and nothing changed it since. */
export function isOurs(situation: Pick<Situation, 'local' | 'applied' | 'pending' | 'found'>) {
  const { local, applied, pending, found } = situation;
  const own = [applied, pending, found?.base === found?.oid ? found : undefined];
  return own.some((entry) => entry !== undefined && holds(local, entry));
}

/** Upstream's content when the edit was made. */
export function baseOf(
  { oid }: LocalFile,
  { applied, pending, found }: Pick<Situation, 'applied' | 'pending' | 'found'>,
): TreeEntry | undefined {
  if (pending?.merged === oid) return pending;
  if (found?.oid === oid) return { mode: found.mode, oid: found.base };
  return applied ?? pending;
}

function hasMode({ executable }: LocalFile, { mode }: TreeEntry): boolean {
  return executable === (mode === '100755');
}

function isFile({ mode }: TreeEntry): boolean {
  return mode.startsWith('100');
}

/** Whether `local` has the type and content of `entry`, apart from permission bits. */
export function holds(local: Local, entry: TreeEntry): boolean {
  if (local.kind === 'symlink') return entry.mode === '120000' && local.oid === entry.oid;
  return local.kind === 'file' && isFile(entry) && local.oid === entry.oid;
}
