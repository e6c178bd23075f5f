/**
 * The record on the volume of the last query of GitHub, which saves the next query.
 * Invariants: of the token only a short digest is stored. The record is used for warnings only. A
 * newer format is not changed.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from '../../shared/files.ts';
import type { Owner } from '../../shared/owner.ts';
import { githubFile, readVersioned } from '../volume/record.ts';

const memory = z.object({
  version: z.literal(1),
  /** The digest of the login and the repository. */
  subject: z.string(),
  looked_at: z.iso.datetime(),
  /** Interrupted queries since the last complete one. */
  cut_short: z.number().int().min(0),
  token_expires_at: z.iso.datetime().optional(),
});
export type GitHubMemory = z.infer<typeof memory>;

export interface Remembered {
  /** The record of an earlier query for the same subject. */
  value: GitHubMemory | undefined;
  /** @throws BerthError `volume_unwritable` */
  replace(value: Omit<GitHubMemory, 'version' | 'subject'>): Promise<void>;
}

/** @param about the API, the repository and the login, in any unambiguous form */
export async function remembered(
  stateDirectory: string,
  about: readonly string[],
  owner?: Owner,
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
      await writeFileAtomic(path, text, { mode: 0o600, ...(owner ? { owner } : {}) });
    },
  };
}
