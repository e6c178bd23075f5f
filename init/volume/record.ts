/**
 * berth's records on the volume, mainly those of the tree: `pending.json`, the state that a run is
 * about to write, and `applied.json`, the written state.
 * Invariants: each record is complete or absent, durable when written, bounded and validated when
 * read. A record of a newer version is never touched.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { type WriteOptions, writeFileAtomic } from '../../shared/files.ts';
import { type Read, readVersioned } from '../../shared/versioned-file.ts';

const idPattern = /^[0-9a-f]{40}$/;
const oid = z.string().regex(idPattern);

export interface RecordedEntry {
  mode: '100644' | '100755' | '120000' | '160000';
  oid: string;
  /** The lstat data of berth's own file; absent if the path was skipped or keeps a local edit. */
  size?: number | undefined;
  mtime?: number | undefined;
  inode?: number | undefined;
  /** A symlink that is not created, because it would leave the volume. */
  unsafe?: boolean | undefined;
  /** An entry that is not created, because the volume cannot hold it beside the others. */
  absent?: boolean | undefined;
  /** In `pending.json`: the blob that is written instead of `oid`, with a local edit merged. */
  merged?: string | undefined;
  /** The last good settings.json, used instead of `oid`, which the CLI would ignore. */
  kept?: string | undefined;
}

const entryModes = new Set<unknown>(['100644', '100755', '120000', '160000']);

/** Validated by hand, because there may be 100,000 entries: a schema takes ten times as long. */
function isRecordedEntry(value: unknown): value is RecordedEntry {
  if (typeof value !== 'object' || value === null) return false;
  const entry = value as Record<string, unknown>;
  const { mode, oid, size, mtime, inode, unsafe, absent, merged, kept } = entry;
  return (
    entryModes.has(mode) &&
    isId(oid) &&
    isNumberIfAny(size) &&
    isNumberIfAny(mtime) &&
    isNumberIfAny(inode) &&
    (unsafe === undefined || typeof unsafe === 'boolean') &&
    (absent === undefined || typeof absent === 'boolean') &&
    (merged === undefined || isId(merged)) &&
    (kept === undefined || isId(kept))
  );
}

function isId(value: unknown): boolean {
  return typeof value === 'string' && idPattern.test(value);
}

function isNumberIfAny(value: unknown): boolean {
  return value === undefined || Number.isFinite(value);
}

const entries = z.unknown().transform((value, context): Record<string, RecordedEntry> => {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  const bad = isObject
    ? Object.entries(value).find(([, entry]) => !isRecordedEntry(entry))
    : ['', value];
  if (isObject && bad === undefined) return value as Record<string, RecordedEntry>;
  context.addIssue({
    code: 'custom',
    message: `${JSON.stringify(bad?.[0])} is not a valid entry of a tree`,
  });
  return z.NEVER;
});

const foundEntry = z.object({
  mode: z.enum(['100644', '100755', '120000']),
  oid,
  /** Upstream's content from which this was made; equal to `oid` if berth wrote it. */
  base: oid,
});
export type FoundEntry = z.infer<typeof foundEntry>;

const record = z.object({
  version: z.literal(1),
  /** BERTH_REPO as a URL without a login. */
  repository: z.string(),
  /** BERTH_REF, null for the default branch. */
  ref: z.string().nullable(),
  /** BERTH_REPO_PATH: entries outside of it are not written. */
  directory: z.string().nullable().default(null),
  commit: oid,
  /** The commit's own text in base64: with `entries` it proves that they are the commit's. */
  commit_text: z.base64(),
  /** When the commit was fetched from the server, ISO 8601. */
  fetched_at: z.iso.datetime(),
  /** Every entry of the commit's tree by path, including entries that are not written. */
  entries,
  /**
   * In `pending.json`, by path on the volume: content that the run found and no other record names,
   * because earlier runs to other commits were interrupted. It may still be there.
   */
  found: z.record(z.string(), foundEntry).optional(),
});
export type TreeRecord = z.infer<typeof record>;

const limit = 64 * 1024 * 1024;

export const appliedFile = 'applied.json';
export const pendingFile = 'pending.json';
/** What was proposed as a pull request, and how it ended. */
export const proposalsFile = 'proposals.json';
/** What the init that stays has received, and the commit with which no worker starts. */
export const receivedCommitsFile = 'received-commits.json';
export { githubFile, lastGoodFile, reportFile } from '../../shared/state-directory.ts';
export { type Read, readVersioned } from '../../shared/versioned-file.ts';

export function readTreeRecord(directory: string, name: string): Promise<Read<TreeRecord>> {
  return readVersioned(join(directory, name), record, limit);
}

export function writeTreeRecord(
  directory: string,
  name: string,
  value: TreeRecord,
  options: WriteOptions = {},
): Promise<void> {
  return writeFileAtomic(join(directory, name), JSON.stringify(value), { mode: 0o600, ...options });
}
