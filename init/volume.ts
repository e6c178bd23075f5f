/**
 * What lies on the volume: inspected into one named state, each with its repair.
 * Always holds: berth's state lies in a real directory that only the volume's owner may enter; what
 * stands in the place of one of its directories is set aside, never followed or lost.
 */
import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { BerthError, systemCode } from '../shared/errors.ts';
import { obstructedParent, unwritable } from '../shared/files.ts';
import type { Log } from '../shared/log.ts';
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
import { type Aside, openAside } from './set-aside.ts';

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

/** Subdirectories of the state that berth writes into by name. */
const parts = ['conflicts', 'quarantine', 'git'];

/**
 * Makes the state directory usable: real, and closed to others. Comes before the lease, which lies in it.
 * @throws BerthError `volume_unwritable`
 */
export async function openState(
  configDirectory: string,
  stateDirectory: string,
  log: Log,
): Promise<void> {
  try {
    if (!(await isDirectory(configDirectory))) {
      throw new BerthError(
        'volume_unwritable',
        `cannot use ${configDirectory}: there is no such directory; mount the volume there, or set BERTH_CONFIG_DIR`,
      );
    }
    const displaced: string[] = [];
    for (const directory of [stateDirectory, ...parts.map((part) => join(stateDirectory, part))]) {
      const isState = directory === stateDirectory;
      const away = await displace(directory);
      if (away) displaced.push(away);
      if (isState) await mkdir(directory, { recursive: true, mode: 0o700 });
    }
    await chmod(stateDirectory, 0o700).catch(() => undefined);
    for (const path of displaced) {
      const aside = openAside(join(stateDirectory, 'conflicts'), 'state');
      const saved = await aside.save(path, basename(path));
      log.warn('volume_repaired', 'something stood in the place of a directory of berth', {
        path,
        saved,
      });
    }
  } catch (error) {
    throw error instanceof BerthError ? error : unwritable(stateDirectory, error);
  }
}

/** Renames what is at `path` if it is there and no real directory; returns its new place. */
async function displace(path: string): Promise<string | undefined> {
  try {
    if ((await lstat(path)).isDirectory()) return undefined;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  const away = join(dirname(path), `${basename(path)}.aside-${randomBytes(4).toString('hex')}`);
  await rename(path, away);
  return away;
}

async function isDirectory(path: string): Promise<boolean> {
  const status = await lstat(path).catch(() => undefined);
  return status?.isDirectory() ?? false;
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
  if (volume.state === 'other_repository' || volume.state === 'other_ref') {
    await rm(join(stateDirectory, 'git'), { recursive: true, force: true });
  }
  await sweep(configDirectory, stateDirectory, [volume.applied, volume.pending]);
}

const temporary = /^\.berth-[0-9a-f]{12}\.tmp$/;

/** Removes the temporary files of runs that were killed, where those could write. */
async function sweep(
  configDirectory: string,
  stateDirectory: string,
  records: readonly (TreeRecord | undefined)[],
): Promise<void> {
  const directories = new Set([configDirectory, stateDirectory, join(stateDirectory, 'git')]);
  const [, pending] = records;
  // Only an unfinished run leaves any among the tracked files.
  for (const path of pending ? records.flatMap((one) => Object.keys(one?.entries ?? {})) : []) {
    if (unsafePath(path) || (await obstructedParent(configDirectory, path))) continue;
    directories.add(join(configDirectory, dirname(path)));
  }
  for (const directory of directories) {
    if (!(await isDirectory(directory))) continue;
    for (const name of await readdir(directory)) {
      if (temporary.test(name)) await rm(join(directory, name), { force: true });
    }
  }
}
