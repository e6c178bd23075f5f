/**
 * Stores facts about logins on the volume, for all programs: the source that was applied last, so
 * that each source is applied once; the login that a person made with `berth login`; and refresh
 * tokens that were used up or refused.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { type Credentials, loginId, type SourceId } from './credentials.ts';
import { type WriteOptions, writeFileAtomic } from './files.ts';
import { type Read, readVersioned } from './versioned-file.ts';

export const credentialsMemoryFile = 'credentials.json';

/** The keys of the live Secret, which are files where init mounts the Secret. */
export const liveKeys = {
  login: 'credentials.json',
  /** SHA-256 (hex) of the source from which the login descends; absent if there was no source. */
  sourceDigest: 'source-digest',
  /** The `loginDigest` of that source; absent if an earlier berth wrote the Secret. */
  sourceLoginDigest: 'source-login-digest',
  /** `berth`: distinguishes the live Secret from the Secret of a person; absent if an earlier berth wrote it. */
  writer: 'written-by',
} as const;

const sha256 = /^[0-9a-f]{64}$/;

const memory = z.object({
  version: z.literal(1),
  /** SHA-256 of the source that was applied last. */
  source_digest: z.string().regex(sha256),
  /** The `loginDigest` of that source; absent if an earlier berth wrote the file. */
  source_login_digest: z.string().regex(sha256).optional(),
});

/** A source as the live Secret names it; undefined if the first digest is not a digest. */
export function sourceIdOf(
  digest: string | undefined,
  loginDigest: string | undefined,
): SourceId | undefined {
  if (digest === undefined || !sha256.test(digest)) return undefined;
  return { digest, loginDigest: sha256.test(loginDigest ?? '') ? loginDigest : undefined };
}

export const historyFile = 'login-history.json';

/** The number of newest logins that are remembered: weeks of refreshes. */
export const rememberedLogins = 200;

/** The number of newest setup-tokens that are remembered. A setup-token lasts a year. */
export const rememberedSetupTokens = 1_000;

const ids = z
  .array(z.string().regex(/^[0-9a-f]{12}$/))
  .max(rememberedLogins)
  .default([]);

const times = z
  .record(z.string().regex(/^[0-9a-f]{12}$/), z.number().min(0).max(8.64e15))
  .default({});

const history = z.object({
  version: z.literal(1),
  superseded: ids,
  refused: ids,
  put_back: ids,
  /** When each login was first seen, in ms since 1970; a refresh passes the time on. */
  since: times,
  /** The same for setup-tokens; older files have setup-tokens in `since`. */
  setup_tokens: times,
});

/** The supervisor's history of refresh tokens. @throws BerthError `volume_damaged` */
export function readLoginHistory(stateDirectory: string): Promise<Read<z.infer<typeof history>>> {
  return readVersioned(join(stateDirectory, historyFile), history, 64 * 1024);
}

/** The source that was applied last, if there is one. @throws BerthError `volume_damaged` */
export async function readAppliedSource(stateDirectory: string): Promise<SourceId | undefined> {
  const read = await readVersioned(join(stateDirectory, credentialsMemoryFile), memory, 4096);
  if (read.kind !== 'valid') return undefined;
  return { digest: read.value.source_digest, loginDigest: read.value.source_login_digest };
}

/** @throws BerthError `volume_unwritable` */
export async function writeAppliedSource(
  stateDirectory: string,
  { digest, loginDigest }: SourceId,
  options: WriteOptions = {},
): Promise<void> {
  const value = { version: 1, source_digest: digest, source_login_digest: loginDigest };
  const path = join(stateDirectory, credentialsMemoryFile);
  await writeFileAtomic(path, JSON.stringify(value), { mode: 0o600, ...options });
}

export const newLoginFile = 'new-login.json';

const newLogin = z.object({
  version: z.literal(1),
  /** The id of the login that a person has made last. */
  login: z.string().regex(/^[0-9a-f]{12}$/),
});

/**
 * Whether a person made this login with `berth login`, so that it is not a refresh of the earlier
 * login.
 */
export async function isNewLogin(
  stateDirectory: string,
  credentials: Credentials,
): Promise<boolean> {
  const path = join(stateDirectory, newLoginFile);
  const read = await readVersioned(path, newLogin, 1024).catch(() => undefined);
  return read?.kind === 'valid' && read.value.login === loginId(credentials);
}

/** @throws BerthError `volume_unwritable` */
export async function writeNewLogin(
  stateDirectory: string,
  credentials: Credentials,
  options: WriteOptions,
): Promise<void> {
  const text = JSON.stringify({ version: 1, login: loginId(credentials) });
  await writeFileAtomic(join(stateDirectory, newLoginFile), text, options);
}
