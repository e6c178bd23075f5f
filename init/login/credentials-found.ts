/**
 * Reads and judges the existing credentials, and warns about unusable ones.
 * Invariants: their tokens are redacted from then on. On the volume no symlink is followed. An
 * absent file causes no warning, because an API key or a setup-token needs no file. A file on the
 * volume that cannot be read counts as a login, never as a torn file.
 */
import { lstat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  type Credentials,
  credentialsFileName,
  credentialsLimit,
  hideTokens,
  isSameSource,
  type Judgement,
  judgeCredentials,
  loginId,
  othersIn,
  type SourceId,
} from '../../shared/credentials.ts';
import type { CredentialsName, CredentialsPolicy, Known } from '../../shared/credentials-choice.ts';
import { liveKeys, readLoginHistory, sourceIdOf } from '../../shared/credentials-memory.ts';
import { isAbsent, messageOf, systemCode } from '../../shared/errors.ts';
import { readFileBounded, readProvided } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { lastGoodFile } from '../volume/record.ts';

export interface CredentialsPlaces {
  policy: CredentialsPolicy;
  configDirectory: string;
  stateDirectory: string;
  source: string;
  liveSource: string | undefined;
  log: Log;
}

export interface Found {
  known: Known;
  /** The CLI has blanked the volume's file. */
  blanked: boolean;
  /** The source from which the live login descends, if the login is usable and names it. */
  liveSource: SourceId | undefined;
  /** The credentials that the login server refused then. */
  rejected: Credentials | undefined;
  /** A person has provided unusable credentials. */
  unusable: boolean;
  /** Other content of the volume's file, such as the logins of MCP servers. */
  others: Record<string, unknown>;
  /** Why the volume's file cannot be read: it may hold the only good login. */
  unreadable: string | undefined;
}

interface Place {
  judgement: Judgement | undefined;
  others: Record<string, unknown>;
  /** Why the volume's file cannot be read. */
  unreadable?: string;
}

export async function findCredentials(places: CredentialsPlaces): Promise<Found> {
  const { configDirectory, stateDirectory, source, liveSource, log } = places;
  const volume = await readPlace('volume', join(configDirectory, credentialsFileName), log);
  const lastGood = await readPlace('last_good', join(stateDirectory, lastGoodFile), log);
  const given = await readPlace('source', source, log);
  const live = liveSource === undefined ? undefined : await readPlace('live', liveSource, log);
  const known: Known = {};
  for (const [name, place] of Object.entries({
    volume,
    source: given,
    live,
    last_good: lastGood,
  })) {
    if (place?.judgement?.kind !== 'valid') continue;
    known[name as CredentialsName] = place.judgement.credentials;
  }
  const lineage = known.live && liveSource ? await lineageOf(liveSource) : {};
  const descendsFrom = sourceIdOf(lineage.digest, lineage.loginDigest);
  const isOfAnother =
    lineage.digest !== undefined && known.source && !isSameSource(known.source, descendsFrom);
  if (isOfAnother) delete known.live;
  const provided = given.judgement !== undefined;
  await dropUsedUp(known, stateDirectory, places.policy);
  const blanked = volume.judgement?.kind === 'blank';
  const unusable = provided && !known.source;
  const rejected = blanked ? known.last_good : undefined;
  const { others, unreadable } = volume;
  return { known, blanked, liveSource: descendsFrom, rejected, unusable, others, unreadable };
}

/**
 * If clocks differ, a login may expire later than its successor, and a person may provide an old
 * file. A login that the supervisor saw used up does not count, whatever its expiry is: using it
 * again would revoke the login.
 */
async function dropUsedUp(
  known: Known,
  stateDirectory: string,
  policy: CredentialsPolicy,
): Promise<void> {
  const read = await readLoginHistory(stateDirectory);
  if (read.kind !== 'valid') return;
  for (const name of ['source', 'live', 'last_good'] as const) {
    const found = known[name];
    if (name === 'source' && policy === 'source') continue;
    if (found && read.value.superseded.includes(loginId(found))) delete known[name];
  }
}

/** The digests of the source from which the live login descends, as they are in the live Secret. */
async function lineageOf(path: string): Promise<Partial<SourceId>> {
  const read = async (key: string): Promise<string | undefined> => {
    const content = await readProvided(join(dirname(path), key), 256).catch(() => undefined);
    return content?.toString('utf8').trim();
  };
  const digest = await read(liveKeys.sourceDigest);
  return digest === undefined
    ? {}
    : { digest, loginDigest: await read(liveKeys.sourceLoginDigest) };
}

/** Whether a regular file is at the path, or nobody can know. */
async function mayBeFile(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isFile();
  } catch (error) {
    return !isAbsent(error);
  }
}

/** Reads and judges; warns about unusable credentials, unless they are absent. */
async function readPlace(name: CredentialsName, path: string, log: Log): Promise<Place> {
  const provided = name === 'source' || name === 'live';
  let judgement: Judgement;
  let others = {};
  try {
    const content = await (provided ? readProvided : readFileBounded)(path, credentialsLimit);
    if (content === undefined) return { judgement: undefined, others };
    others = othersIn(content);
    judgement = judgeCredentials(content);
    const noLogin = judgement.kind === 'torn' && Object.keys(others).length > 0;
    if (noLogin && !content.includes('claudeAiOauth')) return { judgement: undefined, others };
  } catch (error) {
    if (name === 'volume' && (await mayBeFile(path))) {
      return { judgement: undefined, others, unreadable: messageOf(error) };
    }
    judgement = { kind: 'torn', reason: messageOf(error) };
    if (systemCode(error) === 'EACCES') {
      judgement.reason += '; let init read it: for a Secret set fsGroup and defaultMode 0440';
    }
  }
  if (judgement.kind === 'valid') {
    hideTokens(judgement.credentials);
  } else {
    const why = judgement.kind === 'blank' ? 'it holds no token' : judgement.reason;
    log.warn('credentials_unreadable', `credentials cannot be used: ${why}`, { from: name, path });
  }
  return { judgement, others };
}
