/**
 * The credentials that are there: read, judged, and told where they cannot be used.
 * Always holds: their tokens are never shown from then on; on the volume no symlink is followed; a
 * file that is not there is nothing to warn of, for an API key or a setup-token needs none.
 */
import { dirname, join } from 'node:path';
import {
  type Credentials,
  credentialsFileName,
  credentialsLimit,
  hideTokens,
  type Judgement,
  judgeCredentials,
  loginId,
  othersIn,
} from '../../shared/credentials.ts';
import type { CredentialsName, CredentialsPolicy, Known } from '../../shared/credentials-choice.ts';
import { liveKeys, readLoginHistory } from '../../shared/credentials-memory.ts';
import { messageOf, systemCode } from '../../shared/errors.ts';
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
  /** Digest of the source that the live login descends from, if it can be used and says so. */
  liveSource: string | undefined;
  /** What the login server refused then. */
  rejected: Credentials | undefined;
  /** Somebody provides credentials that cannot be used. */
  unusable: boolean;
  /** What else the CLI keeps in the volume's file, such as the logins of MCP servers. */
  others: Record<string, unknown>;
}

interface Place {
  judgement: Judgement | undefined;
  others: Record<string, unknown>;
}

export async function findCredentials(places: CredentialsPlaces): Promise<Found> {
  const { configDirectory, stateDirectory, source, liveSource, log } = places;
  const volume = await look('volume', join(configDirectory, credentialsFileName), log);
  const lastGood = await look('last_good', join(stateDirectory, lastGoodFile), log);
  const given = await look('source', source, log);
  const live = liveSource === undefined ? undefined : await look('live', liveSource, log);
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
  const lineage = known.live && liveSource ? await lineageOf(liveSource) : undefined;
  const isOfAnother = lineage !== undefined && known.source && lineage !== known.source.digest;
  if (isOfAnother) delete known.live;
  const provided = given.judgement !== undefined;
  await dropUsedUp(known, stateDirectory, places.policy);
  const blanked = volume.judgement?.kind === 'blank';
  const unusable = provided && !known.source;
  const rejected = blanked ? known.last_good : undefined;
  const digest = /^[0-9a-f]{64}$/.test(lineage ?? '') ? lineage : undefined;
  return { known, blanked, liveSource: digest, rejected, unusable, others: volume.others };
}

/**
 * Where clocks differ, a login may end later than the one that it was refreshed to; and a person may
 * bring an old file. What the supervisor saw used up does not count, whenever it says that it ends:
 * to use it again would revoke the login.
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

/** Digest of the source that the live login descends from, or whatever stands in its place. */
async function lineageOf(path: string): Promise<string | undefined> {
  const file = join(dirname(path), liveKeys.sourceDigest);
  const content = await readProvided(file, 256).catch(() => undefined);
  return content?.toString('utf8').trim();
}

/** Reads and judges; what cannot be used is told unless it is simply not there. */
async function look(name: CredentialsName, path: string, log: Log): Promise<Place> {
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
