/**
 * Inspects the volume and names its state; each state has its repair.
 * Invariants: everything on the volume is untrusted. A format that is newer than this program is
 * refused, and nothing is changed.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { credentialsMemoryFile } from '../../shared/credentials-memory.ts';
import type { Aside } from '../../shared/set-aside.ts';
import { findGitDamage } from '../git/git-damage.ts';
import {
  appliedFile,
  pendingFile,
  type Read,
  readTreeRecord,
  readVersioned,
  reportFile,
  type TreeRecord,
} from './record.ts';
import { lostAnnouncement } from './recover-pending.ts';
import { saveGitDirectory } from './stray-git-dir.ts';
import { sweep } from './sweep.ts';
import type { VolumeState } from './volume-states.ts';

export interface Volume {
  state: VolumeState;
  applied: TreeRecord | undefined;
  /** The record of an unfinished run. */
  pending: TreeRecord | undefined;
  /** The damage of the git directory, if it is visible immediately. */
  gitDamage: string | undefined;
  /** Names of unreadable records. */
  damaged: readonly string[];
}

export interface Wanted {
  configDirectory: string;
  stateDirectory: string;
  /** BERTH_REPO without a login. */
  repository: string;
  ref: string | undefined;
  /** BERTH_REPO_PATH */
  directory: string | undefined;
}

/**
 * Reads the records and names the state.
 * @throws BerthError `volume_damaged` if a newer berth wrote them
 */
export async function inspectVolume(wanted: Wanted): Promise<Volume> {
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
  const gitDamage = await findGitDamage(join(stateDirectory, 'git'));
  const state = await stateOf(wanted, { ...records, damaged, gitDamage });
  return { ...records, damaged, gitDamage, state };
}

async function stateOf(
  wanted: Wanted,
  { applied, pending, damaged, gitDamage }: Omit<Volume, 'state'>,
): Promise<VolumeState> {
  const record = pending ?? applied;
  if (damaged.length > 0) return 'damaged_record';
  if (!record) return (await hasFiles(wanted)) ? 'foreign' : 'empty';
  if (record.repository !== wanted.repository) return 'other_repository';
  if (record.ref !== (wanted.ref ?? null)) return 'other_ref';
  if (record.directory !== (wanted.directory ?? null)) return 'other_ref';
  if (pending) return 'interrupted';
  return gitDamage === undefined ? 'complete' : 'damaged_git_directory';
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

/**
 * Repairs the state before anything else is read or written. Objects of another repository, and
 * damaged objects, are removed only after the server has answered (source.ts).
 * @returns a short description of each repair
 */
export async function repairVolume(
  volume: Volume,
  { configDirectory, stateDirectory }: Wanted,
  { quarantine, conflicts, isLive }: { quarantine: Aside; conflicts: Aside; isLive?: boolean },
): Promise<string[]> {
  const repairs: string[] = [];
  for (const name of volume.damaged) {
    await quarantine.save(join(stateDirectory, name), name);
    repairs.push(`${name} could not be read and is in quarantine`);
  }
  if (volume.damaged.includes(pendingFile) && volume.applied && volume.gitDamage === undefined) {
    volume.pending = await lostAnnouncement(stateDirectory, volume.applied);
  }
  if (volume.state === 'foreign') {
    const saved = await saveGitDirectory(configDirectory, conflicts);
    if (saved) repairs.push('a leftover .git was saved without its login');
  }
  // A supervisor that works on the volume has temporary files of its own there.
  const swept = isLive ? 0 : await sweep({ configDirectory, stateDirectory, ...volume });
  if (swept > 0) repairs.push(`${swept} temporary files of an interrupted run were removed`);
  return repairs;
}
