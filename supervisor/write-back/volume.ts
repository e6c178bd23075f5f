/**
 * Reads the login on the volume, which any program in the runtime container can write: bounded,
 * without following symlinks, validated, and reduced to the fields that may be written back.
 * Invariants: nothing is written here. A login and its source belong together.
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
  type SourceId,
} from '../../shared/credentials.ts';
import { readAppliedSource } from '../../shared/credentials-memory.ts';
import { messageOf, systemCode } from '../../shared/errors.ts';
import { readFileBounded } from '../../shared/files.ts';
import { silent } from '../../shared/log.ts';
import { LoginHistory } from '../credentials/history.ts';
import { knownFields } from './login-fields.ts';

export interface VolumeLogin {
  /** The login as it may be written back. */
  credentials: Credentials;
  /** The id of the login in the history of logins. */
  id: string;
  /** The source from which the login descends; undefined if unknown. */
  source: SourceId | undefined;
}

export interface VolumePlaces {
  configDirectory: string;
  stateDirectory: string;
}

/** The number of attempts to read both files without a change in between. */
const tries = 3;

/**
 * The current login on the volume; undefined without a usable login.
 * @throws Error with the reason why a file cannot be read
 */
export async function readVolumeLogin(places: VolumePlaces): Promise<VolumeLogin | undefined> {
  const path = join(places.configDirectory, credentialsFileName);
  for (let attempt = 0; attempt < tries; attempt++) {
    // A source is applied after the login is written, so a login that is read in between is the
    // newer one.
    const source = await readSource(places);
    const content = await readFileBounded(path, credentialsLimit);
    if ((await readSource(places))?.digest !== source?.digest) continue;
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
 * The history of earlier logins, as the supervisor recorded it.
 * @throws BerthError `volume_damaged` if a newer berth wrote it
 */
export async function readHistory({ stateDirectory }: VolumePlaces): Promise<LoginHistory> {
  const history = new LoginHistory(stateDirectory, silent);
  if (await isRealDirectory(stateDirectory)) await history.load();
  return history;
}

async function readSource({ stateDirectory }: VolumePlaces): Promise<SourceId | undefined> {
  return (await isRealDirectory(stateDirectory)) ? readAppliedSource(stateDirectory) : undefined;
}

/** @throws Error if the path is not a directory, or cannot be read */
async function isRealDirectory(path: string): Promise<boolean> {
  try {
    if ((await lstat(path)).isDirectory()) return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw new Error(`${path} cannot be read: ${messageOf(error)}`);
  }
  throw new Error(`${path} is not a directory`);
}
