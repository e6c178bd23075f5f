/**
 * The rules of reconciling, for one path at a time: from what is there, what upstream has and what
 * berth put there before, to what is done. Nothing here reads or writes.
 */

import type { TreeEntry } from '../git/tree.ts';
import type { FoundEntry, RecordedEntry } from '../volume/record.ts';
import type { Local, LocalFile } from './local-file.ts';
import { largestText } from './merge-text.ts';

export interface Situation {
  local: Local;
  /** What upstream has now; undefined if it has nothing there, or nothing that may be written. */
  want: TreeEntry | undefined;
  /** What berth recorded as applied, and as about to be. */
  applied: TreeEntry | undefined;
  pending: (TreeEntry & Pick<RecordedEntry, 'merged'>) | undefined;
  /** What a run that was cut short had found there, if that is in neither record. */
  found?: FoundEntry | undefined;
  /** Whether the path is executable configuration, which never keeps an edit. */
  executable: boolean;
  /** BERTH_LOCAL_CHANGES */
  localChanges?: 'merge' | 'discard';
}

export type Reason =
  /** Nothing was there, or berth's own content of an earlier commit. */
  | 'new'
  | 'updated'
  /** It was missing, emptied, NUL-filled or of another type. */
  | 'restored'
  /** Executable configuration was edited. */
  | 'drift'
  /** An edit and upstream's change, in one. */
  | 'merged'
  /** An edit that BERTH_LOCAL_CHANGES does not let stay. */
  | 'discarded'
  /** Both sides changed it in ways that cannot be merged, or nobody knows from what. */
  | 'conflict';

export type Action =
  | { kind: 'nothing' }
  /** The edit stays: upstream has not changed the text. `mode`: the permission bits are upstream's. */
  | { kind: 'keep'; mode?: true }
  | { kind: 'mode' }
  /** Both changed it: to be merged against this blob, or else a `conflict`. */
  | { kind: 'merge'; base: string }
  /** `save`: what is there is somebody's, and goes to conflicts/ first. */
  | { kind: 'write'; reason: Reason; save: boolean }
  | { kind: 'remove'; reason: Reason; save: boolean };

export const conflict: Action = { kind: 'write', reason: 'conflict', save: true };

export function decide(situation: Situation): Action {
  const { local, want, executable } = situation;
  const known = isKnown(situation);
  const ours = isOurs(situation);
  if (want === undefined) {
    // A directory in the place of a file that upstream deleted is not berth's.
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
  // Its files were decided one by one; if any other is in it, it is moved away whole.
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

/** Whether berth wrote what is there, and nobody changed it since. */
export function isOurs(situation: Pick<Situation, 'local' | 'applied' | 'pending' | 'found'>) {
  const { local, applied, pending, found } = situation;
  const own = [applied, pending, found?.base === found?.oid ? found : undefined];
  return own.some((entry) => entry !== undefined && holds(local, entry));
}

/** What upstream had when the edit was made. */
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

/** Whether `local` has the type and content of `entry`; permission bits are another matter. */
export function holds(local: Local, entry: TreeEntry): boolean {
  if (local.kind === 'symlink') return entry.mode === '120000' && local.oid === entry.oid;
  return local.kind === 'file' && isFile(entry) && local.oid === entry.oid;
}
