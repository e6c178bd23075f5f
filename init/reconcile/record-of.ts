/**
 * Builds the record of a commit as it is about to be, or is, on the volume.
 * Invariant: any content of berth's that can be at a path at any moment of a run is named by one of
 * the two records.
 */

import { objectId } from '../git/pack-format.ts';
import type { Commit } from '../git/tree.ts';
import type { FoundEntry, TreeRecord } from '../volume/record.ts';
import { volumePath } from '../volume/subdirectory.ts';
import { baseOf, holds, isOurs } from './decide.ts';
import { settingsPath } from './keep-settings.ts';
import type { Status } from './local-file.ts';
import { file, type Memory, type Step } from './plan.ts';

interface Facts {
  repository: string;
  ref: string | undefined;
  directory: string | null;
  fetchedAt: Date;
  commit: Commit;
  /** Symlinks that are not created, by path on the volume. */
  unsafe: ReadonlySet<string>;
  /** Entries that the volume cannot hold, by path. */
  absent: ReadonlySet<string>;
  /** Steps with merged texts that are about to be written. */
  steps: readonly Step[];
  /** The blob id of the settings.json that stays instead of upstream's. */
  kept: string | undefined;
}

/** @param statuses lstat data of the files that equal the commit */
export function recordOf(facts: Facts, statuses: ReadonlyMap<string, Status>): TreeRecord {
  const { commit, repository, ref, directory, fetchedAt, unsafe, absent, steps, kept } = facts;
  const merged = new Map(
    steps.flatMap(({ path, content }) =>
      content ? [[path, { merged: objectId('blob', content) }]] : [],
    ),
  );
  const entries = [...commit.tree].map(([path, entry]): [string, TreeRecord['entries'][string]] => {
    const there = volumePath(path, directory) ?? '';
    const left = {
      ...(unsafe.has(there) && { unsafe: true }),
      ...(absent.has(there) && { absent: true }),
      ...(there === settingsPath && kept !== undefined && { kept }),
    };
    return [path, { ...entry, ...statuses.get(there), ...merged.get(there), ...left }];
  });
  return {
    version: 1,
    repository,
    ref: ref ?? null,
    directory,
    commit: commit.id,
    commit_text: commit.text.toString('base64'),
    fetched_at: fetchedAt.toISOString(),
    entries: Object.fromEntries(entries),
  };
}

/**
 * Local content that neither `applied.json` nor the target names: content of interrupted runs, and
 * edits made from it.
 */
export function foundBy(memory: Memory, steps: readonly Step[]): Record<string, FoundEntry> {
  const found: Record<string, FoundEntry> = {};
  for (const { path, local } of steps) {
    if (local.kind !== 'file' && local.kind !== 'symlink') continue;
    const applied = file(memory.applied.get(path));
    const pending = file(memory.pending.get(path));
    const known = { local, applied, pending, found: memory.found.get(path) };
    if (applied && holds(local, applied)) continue;
    const mode = local.kind === 'symlink' ? '120000' : '100644';
    if (isOurs(known)) found[path] = { mode, oid: local.oid, base: local.oid };
    else if (local.kind === 'file') {
      const base = baseOf(local, known);
      const regular = base?.mode.startsWith('100');
      if (base && regular && base !== applied)
        found[path] = { mode, oid: local.oid, base: base.oid };
    }
  }
  return found;
}
