/**
 * The rules of reconciling, for one path at a time: from what is there, what upstream has and what
 * berth put there before, to what is done. Nothing here reads or writes.
 */
import type { Local } from './local-file.ts';
import type { TreeEntry } from './tree.ts';

export interface Situation {
  local: Local;
  /** What upstream has now; undefined if it has nothing there, or nothing that may be written. */
  want: TreeEntry | undefined;
  /** What berth recorded as applied, and as about to be. */
  applied: TreeEntry | undefined;
  pending: TreeEntry | undefined;
  /** Whether the path is executable configuration, which never keeps an edit. */
  executable: boolean;
}

export type Reason =
  /** Nothing was there, or berth's own content of an earlier commit. */
  | 'new'
  | 'updated'
  /** It was missing, emptied, NUL-filled or of another type. */
  | 'restored'
  /** Executable configuration was edited. */
  | 'drift'
  /** Both sides changed it, or nobody knows from what. */
  | 'conflict';

export type Action =
  | { kind: 'nothing' }
  /** The edit stays: upstream has not changed the file. */
  | { kind: 'keep' }
  | { kind: 'mode' }
  /** `save`: what is there is somebody's, and goes to conflicts/ first. */
  | { kind: 'write'; reason: Reason; save: boolean }
  | { kind: 'remove'; reason: Reason; save: boolean };

export function decide(situation: Situation): Action {
  const { local, want, applied, pending, executable } = situation;
  const known = [applied, pending].filter((entry) => entry !== undefined);
  const ours = known.some((entry) => holds(local, entry));
  if (want === undefined) {
    // A directory in the place of a file that upstream deleted is not berth's.
    if (local.kind === 'missing' || local.kind === 'directory' || known.length === 0) {
      return { kind: 'nothing' };
    }
    if (ours) return { kind: 'remove', reason: 'updated', save: false };
    return { kind: 'remove', reason: executable ? 'drift' : 'conflict', save: true };
  }
  if (holds(local, want)) {
    const exact = local.kind !== 'file' || local.executable === (want.mode === '100755');
    return { kind: exact ? 'nothing' : 'mode' };
  }
  if (local.kind === 'missing') {
    return { kind: 'write', reason: known.length > 0 ? 'restored' : 'new', save: false };
  }
  if (ours) return { kind: 'write', reason: 'updated', save: false };
  // Its files were decided one by one; if any other is in it, it is moved away whole.
  if (local.kind === 'directory') {
    return { kind: 'write', reason: known.length > 0 ? 'restored' : 'new', save: false };
  }
  if (local.kind !== 'file' || local.damaged) {
    const worthless = local.kind === 'file' && local.status.size === 0;
    return { kind: 'write', reason: 'restored', save: !worthless };
  }
  if (executable) {
    return { kind: 'write', reason: known.length > 0 ? 'drift' : 'conflict', save: true };
  }
  if (applied?.oid === want.oid) return { kind: 'keep' };
  return { kind: 'write', reason: 'conflict', save: true };
}

/** Whether `local` has the type and content of `entry`; permission bits are another matter. */
function holds(local: Local, entry: TreeEntry): boolean {
  if (local.kind === 'symlink') return entry.mode === '120000' && local.oid === entry.oid;
  return local.kind === 'file' && entry.mode.startsWith('100') && local.oid === entry.oid;
}
