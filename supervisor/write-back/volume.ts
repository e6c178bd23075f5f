/**
 * The login on the volume, which whoever runs in the runtime container can write: read bounded, no
 * symlink followed, judged, and cut down to what may be written back.
 * Always holds: nothing is written here; a login and the source that it descends from belong together.
 */
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Credentials,
  credentialsFileName,
  credentialsLimit,
  hideTokens,
  judgeCredentials,
  loginId,
} from '../../shared/credentials.ts';
import { readAppliedSource } from '../../shared/credentials-memory.ts';
import { messageOf, systemCode } from '../../shared/errors.ts';
import { readFileBounded } from '../../shared/files.ts';
import { silent } from '../../shared/log.ts';
import { LoginHistory } from '../credentials/history.ts';
import { knownFields } from './login-fields.ts';

export interface VolumeLogin {
  /** As it may be written back. */
  credentials: Credentials;
  /** Names it in the history of logins. */
  id: string;
  /** SHA-256 of the source that it descends from, hex; undefined if that is not known. */
  source: string | undefined;
}

export interface VolumePlaces {
  configDirectory: string;
  stateDirectory: string;
}

/** So often it is tried to read both files without a change in between. */
const tries = 3;

/**
 * The login that the volume has now; undefined if there is none that can be used.
 * @throws Error that says why its file, or what is remembered beside it, cannot be read
 */
export async function readVolumeLogin(places: VolumePlaces): Promise<VolumeLogin | undefined> {
  const path = join(places.configDirectory, credentialsFileName);
  for (let attempt = 0; attempt < tries; attempt++) {
    // Whoever applies a source writes the login first, so one that is read in between is the newer.
    const source = await readSource(places);
    const content = await readFileBounded(path, credentialsLimit);
    if ((await readSource(places)) !== source) continue;
    if (content === undefined) return undefined;
    const judgement = judgeCredentials(content);
    if (judgement.kind === 'blank') return undefined;
    if (judgement.kind === 'torn') throw new Error(`${path} is torn: ${judgement.reason}`);
    hideTokens(judgement.credentials);
    const credentials = knownFields(judgement.credentials);
    if (!credentials) throw new Error(`${path} has scopes that are not in their shape`);
    return { credentials, id: loginId(judgement.credentials), source };
  }
  return undefined;
}

/**
 * What has become of earlier logins, as the supervisor has noted it.
 * @throws BerthError `volume_damaged` if a newer berth wrote it
 */
export async function readHistory({ stateDirectory }: VolumePlaces): Promise<LoginHistory> {
  const history = new LoginHistory(stateDirectory, silent);
  if (await isRealDirectory(stateDirectory)) await history.load();
  return history;
}

async function readSource({ stateDirectory }: VolumePlaces): Promise<string | undefined> {
  return (await isRealDirectory(stateDirectory)) ? readAppliedSource(stateDirectory) : undefined;
}

/** @throws Error if it is something else, or cannot be reached */
async function isRealDirectory(path: string): Promise<boolean> {
  try {
    if ((await lstat(path)).isDirectory()) return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw new Error(`${path} cannot be read: ${messageOf(error)}`);
  }
  throw new Error(`${path} is not a directory`);
}
