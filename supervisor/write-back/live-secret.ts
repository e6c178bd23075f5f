/** The live Secret as the API returns it, and the patch that writes a login into it. */
import { z } from 'zod';
import {
  type Credentials,
  credentialsLimit,
  judgeCredentials,
  type SourceId,
} from '../../shared/credentials.ts';
import { liveKeys, sourceIdOf } from '../../shared/credentials-memory.ts';
import { digestOf } from '../../shared/digest.ts';
import type { LiveLogin } from './decide.ts';
import type { VolumeLogin } from './volume.ts';

/** The part of a Secret that is read; the rest is not needed. */
export const secretObject = z.object({
  metadata: z.object({ resourceVersion: z.string().min(1).max(256) }),
  data: z.record(z.string(), z.string()).nullish(),
});

export type SecretObject = z.infer<typeof secretObject>;

/** Content that is not a login counts as no login. */
export function readLive({ data }: SecretObject): LiveLogin {
  const digest = textAt(data, liveKeys.sourceDigest)?.trim();
  const loginDigest = textAt(data, liveKeys.sourceLoginDigest)?.trim();
  return { credentials: loginIn(data), source: sourceIdOf(digest, loginDigest) };
}

/** Whether the Secret has content that is not a login. */
export function isMalformed({ data }: SecretObject): boolean {
  return (data?.[liveKeys.login] ?? '') !== '' && loginIn(data) === undefined;
}

/**
 * Whether this is the Secret of a person, from which the volume's login comes: berth always marks
 * its own Secret. A person may have copied its login into their Secret. An earlier berth has only
 * written the source digest, if there was a source.
 */
export function isSource({ data }: SecretObject, source: SourceId | undefined): boolean {
  const text = textAt(data, liveKeys.login);
  if (text === undefined || source === undefined) return false;
  const isOurs = [liveKeys.writer, liveKeys.sourceDigest].some((key) => data?.[key] !== undefined);
  return !isOurs && digestOf(text) === source.digest;
}

/** A JSON merge patch that is refused if the Secret has changed since it was read. */
export function patchFor({ credentials, source }: VolumeLogin, found: SecretObject): object {
  const data: Record<string, string | null> = {
    [liveKeys.login]: base64(credentials.text),
    [liveKeys.writer]: base64('berth'),
  };
  // An unknown source does not remove the existing one: the login most likely still descends from
  // that source.
  if (source !== undefined) {
    const { digest, loginDigest } = source;
    data[liveKeys.sourceDigest] = base64(digest);
    // null removes the digest of an earlier source.
    data[liveKeys.sourceLoginDigest] = loginDigest === undefined ? null : base64(loginDigest);
  }
  return { metadata: { resourceVersion: found.metadata.resourceVersion }, data };
}

function loginIn(data: SecretObject['data']): Credentials | undefined {
  const text = textAt(data, liveKeys.login);
  if (text === undefined || text.length > credentialsLimit) return undefined;
  const judgement = judgeCredentials(text);
  return judgement.kind === 'valid' ? judgement.credentials : undefined;
}

function textAt(data: SecretObject['data'], key: string): string | undefined {
  const value = data?.[key];
  return value === undefined ? undefined : Buffer.from(value, 'base64').toString('utf8');
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
