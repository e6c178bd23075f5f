/**
 * What is remembered on the volume of the last look at GitHub, to spare the next one.
 * Always holds: of the token there is only a short digest; what is read is believed no further than
 * for a warning; a newer format stays as it is.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from '../../shared/files.ts';
import { githubFile, readVersioned } from '../volume/record.ts';

const memory = z.object({
  version: z.literal(1),
  /** Names the login and the repository that were looked at. */
  subject: z.string(),
  looked_at: z.iso.datetime(),
  /** Looks without an answer since the last one with one. */
  cut_short: z.number().int().min(0),
  token_expires_at: z.iso.datetime().optional(),
});
export type GitHubMemory = z.infer<typeof memory>;

export interface Remembered {
  /** What an earlier look at the same subject left. */
  value: GitHubMemory | undefined;
  /** @throws BerthError `volume_unwritable` */
  replace(value: Omit<GitHubMemory, 'version' | 'subject'>): Promise<void>;
}

/** @param about the API, the repository and the login, in any spelling that tells them apart */
export async function remembered(
  stateDirectory: string,
  about: readonly string[],
): Promise<Remembered> {
  const path = join(stateDirectory, githubFile);
  const subject = createHash('sha256').update(about.join('\0')).digest('hex').slice(0, 12);
  let newer = false;
  const read = await readVersioned(path, memory, 4_096).catch(() => {
    newer = true;
  });
  const value = read?.kind === 'valid' && read.value.subject === subject ? read.value : undefined;
  return {
    value,
    async replace(facts) {
      if (newer) return;
      const text = JSON.stringify({ version: 1, subject, ...facts });
      await writeFileAtomic(path, text, { mode: 0o600 });
    },
  };
}
