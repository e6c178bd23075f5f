/**
 * Continues without the git server, with a state on the volume of the same repository, ref and
 * directory.
 * Invariant: before the first change it is certain that every needed object is on the volume, so
 * each change can be finished.
 */
import type { BerthError } from '../../shared/errors.ts';
import { silent } from '../../shared/log.ts';
import { formatDuration } from '../../shared/units.ts';
import type { InitConfig } from '../config.ts';
import type { GitDirectory } from '../git/git-directory.ts';
import type { Commit } from '../git/tree.ts';
import { keepGoodSettings } from '../reconcile/keep-settings.ts';
import { namesMatter, plan, remember } from '../reconcile/plan.ts';
import { selectFiles } from '../reconcile/select.ts';
import { ageOf, lastConfirmed } from '../report.ts';
import { distinguishesAll, foldOf } from '../volume/names.ts';
import type { TreeRecord } from '../volume/record.ts';
import type { Volume } from '../volume/volume.ts';
import { treeOf, Upstream } from './upstream.ts';

export interface Found {
  commit: Commit;
  /** When the server last confirmed this commit. */
  confirmedAt: Date;
  /** BERTH_REF, or the name of the default branch if it is known. */
  ref: string | undefined;
  /** Why the server could not be used; undefined if it was used. */
  failure: BerthError | undefined;
  /** @throws BerthError */
  readBlob(oid: string): Promise<Buffer>;
}

interface Place {
  config: InitConfig;
  volume: Volume;
  signal: AbortSignal;
}

/**
 * Uses the state that an interrupted run was about to write, or else the applied state: the first one
 * whose objects are all on the volume.
 * @returns undefined if there is no state of this repository, ref and directory
 * @throws BerthError `remote_unavailable` if objects are missing
 */
export async function fromVolume(
  place: Place,
  directory: GitDirectory,
): Promise<Found | undefined> {
  const { config, volume } = place;
  const records = [volume.pending, volume.applied].filter((record) => record !== undefined);
  let lacking: unknown;
  for (const record of records.filter((one) => isWanted(one, config))) {
    const found = await foundIn(record, config, directory);
    try {
      if (await canFinish(found, place)) return found;
    } catch (error) {
      lacking ??= error;
    }
  }
  if (lacking !== undefined) throw lacking;
  return undefined;
}

function isWanted(record: TreeRecord, { repository, ref, directory }: InitConfig): boolean {
  return (
    record.repository === repository.url &&
    record.ref === (ref ?? null) &&
    record.directory === (directory ?? null)
  );
}

async function foundIn(
  record: TreeRecord,
  { stateDirectory, ref }: InitConfig,
  directory: GitDirectory,
): Promise<Found> {
  const setAside = async () => undefined;
  const upstream = new Upstream({ directory, remote: undefined, setAside, log: silent });
  const text = Buffer.from(record.commit_text, 'base64');
  const confirmed = await lastConfirmed(stateDirectory, record);
  return {
    commit: { id: record.commit, text, tree: treeOf(record) },
    confirmedAt: confirmed ?? new Date(record.fetched_at),
    ref,
    failure: undefined,
    readBlob: (oid) => upstream.blob(oid, record.commit),
  };
}

/**
 * Whether everything that reconciling would write can be read.
 * @returns false if records of the volume are lost
 * @throws BerthError `remote_unavailable` if objects are missing
 */
export async function canFinish(
  { commit, readBlob }: Found,
  { config, volume, signal }: Place,
): Promise<boolean> {
  const { configDirectory, stateDirectory, localChanges, directory = null } = config;
  const memory = remember(volume);
  const matter = namesMatter(memory, commit.tree, directory);
  const fold = matter ? await foldOf(configDirectory) : distinguishesAll;
  const select = { commit, directory, applied: memory.applied, fold, symlinks: true };
  const { wanted } = await selectFiles({ ...select, readBlob, log: silent });
  const { invalidSettings, repository } = config;
  const records = { ...volume, repository: repository.url };
  const judge = { configDirectory, stateDirectory, invalidSettings, ...records };
  const settings = await keepGoodSettings({ ...judge, readBlob, log: silent }, memory, wanted);
  const steps = await plan({ configDirectory, localChanges, fold, signal }, memory, wanted);
  // A lost record may have named a file that now looks like an edit.
  const unsure = volume.damaged.length > 0 && volume.pending === undefined;
  if (unsure && steps.some(({ action }) => action.kind !== 'nothing')) return false;
  for (const { want, action } of steps) {
    if (!want || want.oid === settings?.good?.oid) continue;
    if (action.kind === 'write' || action.kind === 'merge') await readBlob(want.oid);
  }
  return true;
}

/** One sentence for the log. */
export function continuingWith({ commit, confirmedAt }: Found): string {
  const minutes = Math.max(1, Math.round(ageOf(confirmedAt) / 60_000));
  const age = formatDuration(minutes * 60_000);
  return `the git server failed; continuing with ${commit.id.slice(0, 7)}, confirmed ${age} ago`;
}
