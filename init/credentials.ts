/**
 * Which credentials the CLI gets: those of the source (a person's Secret), the live source (written
 * back by berth) or the ones on the volume (refreshed by the CLI).
 * Always holds: a source that a person changed since it was last applied wins; an unchanged one never
 * replaces what the CLI refreshed; blank, torn or just rejected ones never win; what is replaced is
 * kept as last good; no token is ever shown. Refresh tokens are single-use, so losing the refreshed
 * one is the worst failure: where nothing is known about the source (a first run over a volume that
 * somebody else filled), the later expiry wins.
 */
import { lstat, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import {
  type Credentials,
  credentialsFileName,
  credentialsLimit,
  fresher,
  type Judgement,
  judgeCredentials,
  tokensIn,
} from '../shared/credentials.ts';
import { messageOf, systemCode } from '../shared/errors.ts';
import { readFileBounded, writeFileAtomic } from '../shared/files.ts';
import type { Lease } from '../shared/lease.ts';
import type { Log } from '../shared/log.ts';
import { neverShow } from '../shared/redact.ts';
import { credentialsMemoryFile, lastGoodFile, readVersioned } from './record.ts';
import type { Aside } from './set-aside.ts';

const memory = z.object({
  version: z.literal(1),
  /** SHA-256 of the source that was last given its chance. */
  source_digest: z.string().regex(/^[0-9a-f]{64}$/),
});

/** The digest of the source that the live one came from, beside the live one if it is known. */
const lineageFile = 'source-digest';

export interface CredentialsOptions {
  configDirectory: string;
  stateDirectory: string;
  source: string;
  liveSource: string | undefined;
  /** Given to what is written, where this process may. */
  owner: { uid: number; gid: number } | undefined;
  conflicts: Aside;
  lease: Pick<Lease, 'assertHeld'>;
  log: Log;
}

export interface CredentialsOutcome {
  /**
   * Whose credentials the volume has now; `rejected`: the login server refused the ones that were
   * there and nobody brought others; `none`: there are none. A person must log in at the last two.
   */
  from: 'source' | 'live' | 'volume' | 'last_good' | 'rejected' | 'none';
  changed: boolean;
  /** ISO 8601; when the access token ends (the CLI refreshes it) and when a person must log in. */
  expires_at?: string;
  login_expires_at?: string;
  refresh_token_id?: string;
}

type Name = 'source' | 'live' | 'volume' | 'last_good';
type Known = Partial<Record<Name, Credentials>>;

/** @throws BerthError `volume_unwritable`, `volume_damaged`, `lease_held` */
export async function applyCredentials(options: CredentialsOptions): Promise<CredentialsOutcome> {
  const { stateDirectory, log } = options;
  const path = join(options.configDirectory, credentialsFileName);
  const remembered = await readVersioned(join(stateDirectory, credentialsMemoryFile), memory, 4096);
  const appliedSource = remembered.kind === 'valid' ? remembered.value.source_digest : undefined;

  const volume = await read('volume', path, options);
  const { known, rejected } = await gather(options, volume);
  const from = choose(known, { appliedSource, volume, rejected });
  const chosen = from && known[from];

  if (chosen && chosen.digest !== known.volume?.digest) {
    if (known.volume) await write(options, join(stateDirectory, lastGoodFile), known.volume.text);
    await makeWay(path, options.conflicts);
    await write(options, path, chosen.text);
  }
  if (known.source && known.source.digest !== appliedSource) {
    const value = { version: 1, source_digest: known.source.digest };
    await write(options, join(stateDirectory, credentialsMemoryFile), JSON.stringify(value));
  }
  const outcome = describe(from, chosen, { volume, changed: chosen !== known.volume });
  tell(log, outcome);
  return outcome;
}

interface Circumstances {
  /** Digest of the source that was applied last, if any was. */
  appliedSource: string | undefined;
  volume: Judgement | undefined;
  /** Names the refresh token that the login server refused, if it did. */
  rejected: string | undefined;
}

/** The three-way rule. */
export function choose(known: Known, circumstances: Circumstances): Name | undefined {
  const { appliedSource, volume, rejected } = circumstances;
  const { source } = known;
  if (source && appliedSource !== undefined && source.digest !== appliedSource) return 'source';
  const candidates: Name[] = ['volume', 'live'];
  if (appliedSource === undefined) candidates.push('source');
  const best = latest(known, candidates, rejected);
  // A blank file is the CLI's word that the login was refused: older tokens cannot do better.
  if (best || volume?.kind === 'blank') return best;
  return latest(known, ['last_good', 'source'], rejected);
}

function latest(known: Known, names: Name[], rejected: string | undefined): Name | undefined {
  let best: Name | undefined;
  for (const name of names) {
    const candidate = known[name];
    if (!candidate) continue;
    if (rejected !== undefined && candidate.refreshTokenId === rejected) continue;
    const current = best && known[best];
    if (!current || fresher(current, candidate) === candidate) best = name;
  }
  return best;
}

/** Everything that can be used, by where it comes from; the rest is told and left out. */
async function gather(
  options: CredentialsOptions,
  volume: Judgement | undefined,
): Promise<{ known: Known; rejected: string | undefined }> {
  const { source, liveSource, stateDirectory } = options;
  const lastGood = await read('last_good', join(stateDirectory, lastGoodFile), options);
  const given = await read('source', source, options);
  const live = liveSource === undefined ? undefined : await read('live', liveSource, options);
  const known: Known = {};
  for (const [name, judgement] of Object.entries({
    volume,
    source: given,
    live,
    last_good: lastGood,
  })) {
    if (judgement?.kind === 'valid') known[name as Name] = judgement.credentials;
  }
  if (known.live && liveSource && (await isOfAnotherSource(liveSource, known.source))) {
    delete known.live;
  }
  const rejected = volume?.kind === 'blank' ? known.last_good?.refreshTokenId : undefined;
  return { known, rejected };
}

async function isOfAnotherSource(path: string, source: Credentials | undefined): Promise<boolean> {
  const lineage = await readProvided(join(dirname(path), lineageFile), 256).catch(() => undefined);
  const digest = lineage?.toString('utf8').trim();
  return digest !== undefined && source !== undefined && digest !== source.digest;
}

/** Reads and judges; what cannot be used is told unless it is simply not there. */
async function read(
  name: Name,
  path: string,
  { log }: CredentialsOptions,
): Promise<Judgement | undefined> {
  const provided = name === 'source' || name === 'live';
  let judgement: Judgement;
  try {
    const content = await (provided ? readProvided : readFileBounded)(path, credentialsLimit);
    if (content === undefined) return undefined;
    judgement = judgeCredentials(content);
  } catch (error) {
    judgement = { kind: 'torn', reason: messageOf(error) };
  }
  if (judgement.kind === 'valid') {
    for (const token of tokensIn(judgement.credentials)) neverShow(token);
  } else {
    const why = judgement.kind === 'blank' ? 'it holds no token' : judgement.reason;
    log.warn('credentials_unreadable', 'credentials cannot be used', { from: name, path, why });
  }
  return judgement;
}

/** What an operator mounts: a key of a Secret is a symlink, so here links are followed. */
async function readProvided(path: string, limit: number): Promise<Buffer | undefined> {
  try {
    return await readFileBounded(await realpath(path), limit);
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** A directory cannot be replaced by a rename; anything else can. */
async function makeWay(path: string, conflicts: Aside): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isDirectory()) await conflicts.save(path, credentialsFileName);
}

async function write(options: CredentialsOptions, path: string, text: string): Promise<void> {
  await writeFileAtomic(path, text, {
    mode: 0o600,
    ...(options.owner ? { owner: options.owner } : {}),
    beforeRename: () => options.lease.assertHeld(),
  });
}

function describe(
  from: Name | undefined,
  chosen: Credentials | undefined,
  { volume, changed }: { volume: Judgement | undefined; changed: boolean },
): CredentialsOutcome {
  if (!from || !chosen) {
    return { from: volume?.kind === 'blank' ? 'rejected' : 'none', changed: false };
  }
  const { expiresAt, refreshTokenExpiresAt, refreshTokenId } = chosen;
  return {
    from,
    changed,
    ...timeOf('expires_at', expiresAt),
    ...timeOf('login_expires_at', refreshTokenExpiresAt),
    ...(refreshTokenId ? { refresh_token_id: refreshTokenId } : {}),
  };
}

/** The time as a field, unless it is no date at all: the file is anybody's text. */
function timeOf(name: string, time: number | undefined): Record<string, string> {
  const date = new Date(time ?? Number.NaN);
  return Number.isNaN(date.getTime()) ? {} : { [name]: date.toISOString() };
}

function tell(log: Log, outcome: CredentialsOutcome): void {
  if (outcome.from === 'none' || outcome.from === 'rejected') {
    const remedy = 'log in with the CLI and put its .credentials.json into the Secret';
    log.warn('credentials_missing', `there is no login for the CLI; ${remedy}`, { ...outcome });
  } else if (outcome.changed) {
    log.info('credentials_applied', 'put credentials on the volume', { ...outcome });
  } else {
    log.debug('credentials_kept', 'the credentials on the volume stay', { ...outcome });
  }
}
