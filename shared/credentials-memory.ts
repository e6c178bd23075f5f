/**
 * What is remembered of logins, for both programs to keep to it: which source was given its chance last,
 * so that a source is applied once, whoever of them meets it first; and what has become of refresh tokens.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { type WriteOptions, writeFileAtomic } from './files.ts';
import { type Read, readVersioned } from './versioned-file.ts';

export const credentialsMemoryFile = 'credentials.json';

/** The keys of the live Secret, which are files where init has it mounted. */
export const liveKeys = {
  login: 'credentials.json',
  /** SHA-256 of the source that the login descends from, hex; absent if there never was one. */
  sourceDigest: 'source-digest',
} as const;

const memory = z.object({
  version: z.literal(1),
  /** SHA-256 of the source that was last given its chance. */
  source_digest: z.string().regex(/^[0-9a-f]{64}$/),
});

export const historyFile = 'login-history.json';

/** So many of the newest of each are remembered: weeks of refreshes. */
export const rememberedLogins = 200;

/** Of setup-tokens, which last a year each; those in use are the newest. */
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
  /** When each login was seen first, ms since 1970; a refresh hands it on. */
  since: times,
  /** The same of setup-tokens; older files have theirs among the others. */
  setup_tokens: times,
});

/** What the supervisor has seen of refresh tokens. @throws BerthError `volume_damaged` */
export function readLoginHistory(stateDirectory: string): Promise<Read<z.infer<typeof history>>> {
  return readVersioned(join(stateDirectory, historyFile), history, 64 * 1024);
}

/** Digest of the source that was applied last, if any was. @throws BerthError `volume_damaged` */
export async function readAppliedSource(stateDirectory: string): Promise<string | undefined> {
  const read = await readVersioned(join(stateDirectory, credentialsMemoryFile), memory, 4096);
  return read.kind === 'valid' ? read.value.source_digest : undefined;
}

/** @throws BerthError `volume_unwritable` */
export async function writeAppliedSource(
  stateDirectory: string,
  digest: string,
  options: WriteOptions = {},
): Promise<void> {
  const value = { version: 1, source_digest: digest };
  const path = join(stateDirectory, credentialsMemoryFile);
  await writeFileAtomic(path, JSON.stringify(value), { mode: 0o600, ...options });
}
