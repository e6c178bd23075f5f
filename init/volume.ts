/**
 * What lies on the volume: inspected into one named state, each with its repair.
 * Always holds: everything it reads there is taken for a stranger's; a format that is newer than this
 * program is refused and nothing is changed.
 */
import { lstat, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { obstructedParent } from '../shared/files.ts';
import { unsafePath } from './paths.ts';
import {
  appliedFile,
  credentialsMemoryFile,
  pendingFile,
  type Read,
  readTreeRecord,
  readVersioned,
  reportFile,
  type TreeRecord,
} from './record.ts';
import type { Aside } from './set-aside.ts';
import { isDirectory } from './state-directory.ts';

/** The states and what the repair makes of each. Reconciling then does the same from all of them. */
export const volumeStates = {
  empty: 'nothing is on it yet; everything is written',
  foreign: 'it has files but no record of berth; tracked ones that differ are saved and replaced',
  complete: 'a whole state of this repository and ref is on it',
  interrupted: 'an earlier run was cut short; its temporary files go and its work is finished',
  other_repository: 'it holds another repository, whose files go and whose objects are dropped',
  other_ref: 'it holds another ref of this repository; objects are fetched afresh',
  damaged_record: 'the record cannot be read and goes to quarantine; then as `foreign`',
} as const;

export type VolumeState = keyof typeof volumeStates;

export interface Volume {
  state: VolumeState;
  applied: TreeRecord | undefined;
  /** Of a run that did not finish; undefined if it is the same as `applied`. */
  pending: TreeRecord | undefined;
}

export interface Wanted {
  configDirectory: string;
  stateDirectory: string;
  /** BERTH_REPO without a login. */
  repository: string;
  ref: string | undefined;
}

/**
 * Reads the records and names the state.
 * @throws BerthError `volume_damaged` if a newer berth wrote them
 */
export async function inspectVolume(wanted: Wanted): Promise<Volume & { damaged: string[] }> {
  const { stateDirectory } = wanted;
  const [applied, pending] = await Promise.all([
    readTreeRecord(stateDirectory, appliedFile),
    readTreeRecord(stateDirectory, pendingFile),
    ...[credentialsMemoryFile, reportFile].map((name) =>
      readVersioned(join(stateDirectory, name), z.unknown(), 256 * 1024),
    ),
  ]);
  const damaged = [
    ...(applied.kind === 'damaged' ? [appliedFile] : []),
    ...(pending.kind === 'damaged' ? [pendingFile] : []),
  ];
  const records = { applied: validOf(applied), pending: validOf(pending) };
  // The very last step of a run was cut: the target is applied, its announcement not yet gone.
  if (records.pending && records.pending.commit === records.applied?.commit) {
    if (sameTarget(records.pending, records.applied)) records.pending = undefined;
  }
  return { ...records, damaged, state: await stateOf(wanted, records, damaged) };
}

async function stateOf(
  wanted: Wanted,
  { applied, pending }: Pick<Volume, 'applied' | 'pending'>,
  damaged: readonly string[],
): Promise<VolumeState> {
  const record = pending ?? applied;
  if (damaged.length > 0) return 'damaged_record';
  if (!record) return (await hasFiles(wanted)) ? 'foreign' : 'empty';
  if (record.repository !== wanted.repository) return 'other_repository';
  if (record.ref !== (wanted.ref ?? null)) return 'other_ref';
  return pending ? 'interrupted' : 'complete';
}

function sameTarget(a: TreeRecord, b: TreeRecord): boolean {
  return a.repository === b.repository && a.ref === b.ref;
}

function validOf(read: Read<TreeRecord>): TreeRecord | undefined {
  return read.kind === 'valid' ? read.value : undefined;
}

async function hasFiles({ configDirectory, stateDirectory }: Wanted): Promise<boolean> {
  const names = await readdir(configDirectory);
  return names.some(
    (name) => name !== 'lost+found' && join(configDirectory, name) !== stateDirectory,
  );
}

/** Does what the state asks for before anything else is read or written. */
export async function repairVolume(
  volume: Volume & { damaged: readonly string[] },
  { configDirectory, stateDirectory }: Wanted,
  quarantine: Aside,
): Promise<void> {
  for (const name of volume.damaged) await quarantine.save(join(stateDirectory, name), name);
  await sweep(configDirectory, stateDirectory, [volume.applied, volume.pending]);
}

const temporary = /^\.berth-[0-9a-f]{12}\.tmp$/;
const leaseTemporary = /^lease\.json\.[0-9a-f-]{36}$/;
/** Milliseconds: a younger one may be of somebody who waits for the lease just now. */
const oldLease = 60_000;

/** Removes the temporary files of runs that were killed, where those could write. */
async function sweep(
  configDirectory: string,
  stateDirectory: string,
  records: readonly (TreeRecord | undefined)[],
): Promise<void> {
  const git = join(stateDirectory, 'git');
  const places = new Set([configDirectory, stateDirectory, git, join(git, 'refs/heads')]);
  const [, pending] = records;
  // Only an unfinished run leaves any among the tracked files.
  for (const path of pending ? records.flatMap((one) => Object.keys(one?.entries ?? {})) : []) {
    if (unsafePath(path) || (await obstructedParent(configDirectory, path))) continue;
    places.add(join(configDirectory, dirname(path)));
  }
  for (const directory of places) {
    if (!(await isDirectory(directory))) continue;
    for (const name of await readdir(directory)) {
      const path = join(directory, name);
      if (temporary.test(name) || (leaseTemporary.test(name) && (await isOld(path)))) {
        await rm(path, { force: true });
      }
    }
  }
}

async function isOld(path: string): Promise<boolean> {
  const status = await lstat(path).catch(() => undefined);
  return status !== undefined && Date.now() - status.mtimeMs > oldLease;
}
