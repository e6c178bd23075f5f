/**
 * Selects and writes the right credentials on the volume: those of the source (a person's Secret),
 * of the live source (written back by berth), or those on the volume (refreshed by the CLI).
 * Invariants: a source that a person changed since it was last applied wins. An unchanged source
 * never replaces refreshed credentials, unless the policy requires it. Replaced credentials are
 * kept as last good. The file is complete and private. A file on the volume that cannot be read is
 * never replaced.
 */
import { constants } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Credentials,
  credentialsFileName,
  type SourceId,
  withOthers,
} from '../../shared/credentials.ts';
import { type CredentialsName, choose } from '../../shared/credentials-choice.ts';
import { readAppliedSource, writeAppliedSource } from '../../shared/credentials-memory.ts';
import { type WriteOptions, writeFileAtomic } from '../../shared/files.ts';
import type { Lease } from '../../shared/lease.ts';
import type { Log } from '../../shared/log.ts';
import type { Aside } from '../../shared/set-aside.ts';
import { lastGoodFile } from '../volume/record.ts';
import { type CredentialsPlaces, type Found, findCredentials } from './credentials-found.ts';

export interface CredentialsOptions extends CredentialsPlaces {
  /** The owner of written files, if this process may set it. */
  owner: { uid: number; gid: number } | undefined;
  conflicts: Aside;
  lease: Pick<Lease, 'assertHeld'>;
}

export interface CredentialsOutcome {
  /**
   * The origin of the volume's credentials. `rejected`: the login server refused the existing
   * credentials, and there are no others. `none`: there are no credentials; without an API key or a
   * setup-token in the runtime container a person must log in.
   */
  from: CredentialsName | 'rejected' | 'none';
  changed: boolean;
  /**
   * ISO 8601: when the access token expires (the CLI refreshes it), and when a person must log in.
   */
  expires_at?: string;
  login_expires_at?: string;
  refresh_token_id?: string;
}

export interface Chosen {
  found: Found;
  /** The source that was applied last, if any was. */
  appliedSource: SourceId | undefined;
  /** Undefined without usable credentials. Without effect if the volume's file is unreadable. */
  from: CredentialsName | undefined;
}

/**
 * Selects the credentials for the volume; nothing is changed. @throws BerthError `volume_damaged`
 */
export async function chooseCredentials(places: CredentialsPlaces): Promise<Chosen> {
  const appliedSource = await readAppliedSource(places.stateDirectory);
  const found = await findCredentials(places);
  const circumstances = { ...found, policy: places.policy, appliedSource };
  return { found, appliedSource, from: choose(found.known, circumstances) };
}

/** @throws BerthError `volume_unwritable`, `volume_damaged`, `lease_held` */
export async function applyCredentials(options: CredentialsOptions): Promise<CredentialsOutcome> {
  const { configDirectory, stateDirectory, log } = options;
  const path = join(configDirectory, credentialsFileName);
  const { found, appliedSource, from } = await chooseCredentials(options);
  const { known, unreadable } = found;
  if (unreadable !== undefined) {
    const cause = `cannot read the login on the volume: ${unreadable}`;
    log.error('credentials_unreadable', `${cause}; the file stays unchanged: ${makeReadable}`, {
      from: 'volume',
      path,
    });
    return { from: 'volume', changed: false };
  }
  const chosen = from && known[from];

  const changed = chosen !== undefined && chosen.digest !== known.volume?.digest;
  if (changed) {
    if (known.volume) await write(options, join(stateDirectory, lastGoodFile), known.volume.text);
    await makeWay(path, options.conflicts);
    await write(options, path, withOthers(chosen.text, found.others));
  } else if ((await isOpenToOthers(path)) && !(await closeToOthers(path)) && known.volume) {
    await write(options, path, known.volume.text);
  }
  // Write-back later names this source too: the login must descend from it.
  const applied = known.source ?? (from === 'live' ? found.liveSource : undefined);
  if (applied && !isRecorded(applied, appliedSource)) {
    await writeAppliedSource(stateDirectory, applied, manner(options));
  }
  const outcome = describe(from, chosen, found, changed);
  logOutcome(log, outcome, found);
  return outcome;
}

/** A Secret that was rendered again is recorded with its new text, although the login is the same. */
function isRecorded({ digest, loginDigest }: SourceId, recorded: SourceId | undefined): boolean {
  return digest === recorded?.digest && loginDigest === recorded.loginDigest;
}

/** A directory cannot be replaced by a rename; everything else can. */
async function makeWay(path: string, conflicts: Aside): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isDirectory()) await conflicts.save(path, credentialsFileName);
}

async function isOpenToOthers(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  return found?.isFile() === true && (found.mode & 0o077) !== 0;
}

/**
 * Changes the mode in place: on a volume that ignores modes, a replacement would repeat at every
 * start.
 */
async function closeToOthers(path: string): Promise<boolean> {
  try {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const file = await open(path, flags);
    await file.chmod(0o600).finally(() => file.close());
    return true;
  } catch {
    return false;
  }
}

async function write(options: CredentialsOptions, path: string, text: string): Promise<void> {
  await writeFileAtomic(path, text, manner(options));
}

function manner({ owner, lease }: CredentialsOptions): WriteOptions {
  return {
    mode: 0o600,
    ...(owner ? { owner } : {}),
    beforeRename: () => lease.assertHeld(),
  };
}

function describe(
  from: CredentialsName | undefined,
  chosen: Credentials | undefined,
  { blanked }: Found,
  changed: boolean,
): CredentialsOutcome {
  if (!from || !chosen) return { from: blanked ? 'rejected' : 'none', changed: false };
  const { expiresAt, refreshTokenExpiresAt, refreshTokenId } = chosen;
  return {
    from,
    changed,
    ...timeOf('expires_at', expiresAt),
    ...timeOf('login_expires_at', refreshTokenExpiresAt),
    ...(refreshTokenId ? { refresh_token_id: refreshTokenId } : {}),
  };
}

/** The time as a field, unless it is not a valid date: the file is untrusted. */
function timeOf(name: string, time: number | undefined): Record<string, string> {
  const date = new Date(time ?? Number.NaN);
  return Number.isNaN(date.getTime()) ? {} : { [name]: date.toISOString() };
}

const logIn = 'log in with the CLI and put its .credentials.json into the Secret';

const makeReadable =
  "give the CLI's user the file, repair the volume, or log out of unused MCP servers if the file is too large; then restart the pod";

function logOutcome(log: Log, outcome: CredentialsOutcome, { unusable }: Found): void {
  if (outcome.from === 'rejected') {
    log.warn('credentials_missing', `the login server refused the CLI's login; ${logIn}`, {
      ...outcome,
    });
  } else if (outcome.from === 'none' && unusable) {
    log.warn('credentials_missing', `the provided credentials cannot be used; ${logIn}`, {
      ...outcome,
    });
  } else if (outcome.from === 'none') {
    const sentence =
      'there is no credentials file, which is fine if the runtime container has ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN';
    log.info('credentials_missing', `${sentence}; otherwise ${logIn}`, { ...outcome });
  } else if (outcome.changed) {
    log.info('credentials_applied', 'wrote credentials to the volume', { ...outcome });
  } else {
    log.debug('credentials_kept', 'kept the credentials on the volume', { ...outcome });
  }
}
