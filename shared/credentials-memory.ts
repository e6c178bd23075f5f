/**
 * What is remembered of the source: which one was given its chance last. Both programs keep to it, so
 * that a source is applied once, whoever of them meets it first.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { type WriteOptions, writeFileAtomic } from './files.ts';
import { readVersioned } from './versioned-file.ts';

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
