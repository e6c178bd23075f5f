/**
 * The lease as a file. Always holds: it is whole or absent; it is created only where none is; and of
 * all who want to replace the same dead one only one may, who has made the claim on just that text.
 */
import { createHash } from 'node:crypto';
import { renameSync } from 'node:fs';
import { link, rm, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { systemCode } from './errors.ts';
import { readFileBounded } from './files.ts';

const leaseFile = z.object({
  version: z.literal(1),
  /** A random name, which is also that of the holder's witness. */
  owner: z.string().max(64),
  /** For people: which program on which host. */
  holder: z.string(),
  beat: z.number(),
  /** Where the holder's witness listens (lease-witness.ts). */
  place: z.string().optional(),
});
export type LeaseFile = z.infer<typeof leaseFile>;

/** The lease's text; empty if it is gone or cannot be read (then it can only expire). */
export async function readLease(path: string): Promise<string> {
  try {
    return (await readFileBounded(path, 4096))?.toString('utf8') ?? '';
  } catch {
    return '';
  }
}

/** What the text says, if it is a lease of this version; a newer one still shows its heartbeats. */
export function parseLease(text: string): LeaseFile | undefined {
  try {
    return leaseFile.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Creates the lease if there is none. */
export function createLease(path: string, mine: LeaseFile): Promise<boolean> {
  return createOnce(path, `${path}.${mine.owner}`, mine);
}

/**
 * Replaces the lease.
 * @param stillMay asked at the very last moment: nothing happens between its yes and the rename
 * @returns whether it was replaced
 */
export async function replaceLease(
  path: string,
  mine: LeaseFile,
  stillMay: () => boolean = () => true,
): Promise<boolean> {
  const temporary = `${path}.${mine.owner}`;
  await writeFile(temporary, JSON.stringify(mine), { mode: 0o644 });
  if (stillMay()) {
    renameSync(temporary, path);
    return true;
  }
  await rm(temporary, { force: true });
  return false;
}

/**
 * Puts `mine` in the place of a dead lease.
 * @param text what the dead one says
 * @param round from 1; one more if whoever made the claim of the round before has died of it
 * @returns `taken`; `changed` if it is not that lease any more; `claimed` if another has the claim
 */
export async function takeOver(
  path: string,
  text: string,
  round: number,
  mine: LeaseFile,
): Promise<'taken' | 'changed' | 'claimed'> {
  const claim = `${path}.${claimName(text, round)}`;
  if (!(await createOnce(claim, `${path}.${mine.owner}`, mine))) return 'claimed';
  try {
    if ((await readLease(path)) !== text) return 'changed';
    await replaceLease(path, mine);
    return 'taken';
  } finally {
    // Only now: whoever claims the same text from here on finds another one in the file.
    await rm(claim, { force: true });
  }
}

/** Of the same shape as an owner's name: what is left of a killed one is swept up the same way. */
export function claimName(text: string, round: number): string {
  const digest = createHash('sha256').update(`${round} ${text}`).digest('hex');
  return [0, 8, 12, 16, 20]
    .map((at, part) => digest.slice(at, [8, 12, 16, 20, 32][part]))
    .join('-');
}

/** link fails where the name exists, on every file system, and makes a file that is whole. */
async function createOnce(path: string, temporary: string, content: LeaseFile): Promise<boolean> {
  try {
    await writeFile(temporary, JSON.stringify(content), { flag: 'wx', mode: 0o644 });
    await link(temporary, path);
    return true;
  } catch (error) {
    // ENOENT: the holder has swept up what looked left behind. The next try makes it again.
    if (['EEXIST', 'ENOENT'].includes(systemCode(error) ?? '')) return false;
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}
