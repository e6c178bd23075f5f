/**
 * Reads and writes the lease file.
 * Invariants: the file is complete or absent. It is created only if there is none. If several
 * programs want to replace the same dead lease, only one succeeds: the one that created the claim
 * for exactly that text.
 */
import { createHash, randomUUID } from 'node:crypto';
import { renameSync } from 'node:fs';
import { link, rm, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { messageOf, systemCode } from './errors.ts';
import { readFileBounded } from './files.ts';

export const leaseFile = z.object({
  version: z.literal(1),
  /** A random name, also the name of the holder's witness. */
  owner: z.string().max(64),
  /** For people: which program, on which host. */
  holder: z.string(),
  beat: z.number(),
  /** Where the holder's witness listens (lease-witness.ts). */
  place: z.string().optional(),
  /** For a program that shares its lease within its pod (lease-sharing.ts): the pod, and its role. */
  pod: z.string().optional(),
  role: z.enum(['serve', 'sync']).optional(),
});
export type LeaseFile = z.infer<typeof leaseFile>;

/**
 * The text of the lease; empty if the file is absent or unreadable (then the lease can only
 * expire).
 */
export async function readLease(path: string): Promise<string> {
  try {
    return (await readFileBounded(path, 4096))?.toString('utf8') ?? '';
  } catch {
    return '';
  }
}

/**
 * The state of the lease that `owner` holds. Only a record of another owner proves that the lease
 * is lost.
 */
export type LeaseState =
  | { kind: 'mine' }
  | { kind: 'other'; holder: string | undefined }
  | { kind: 'absent' }
  | { kind: 'unreadable'; reason: string };

/** Every format version names the owner. */
const anyVersion = z.object({ owner: z.string(), holder: z.string().optional() });

export async function readLeaseState(path: string, owner: string): Promise<LeaseState> {
  try {
    const content = await readFileBounded(path, 4096);
    if (content === undefined) return { kind: 'absent' };
    const found = anyVersion.safeParse(JSON.parse(content.toString('utf8')));
    if (!found.success) return { kind: 'unreadable', reason: `${path} names no owner` };
    if (found.data.owner === owner) return { kind: 'mine' };
    return { kind: 'other', holder: found.data.holder };
  } catch (error) {
    return { kind: 'unreadable', reason: messageOf(error) };
  }
}

/**
 * The content of the text, if it is a lease of this version. A newer version still shows its
 * heartbeats.
 */
export function parseLease(text: string): LeaseFile | undefined {
  try {
    return leaseFile.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Creates the lease if there is none. */
export function createLease(path: string, mine: LeaseFile): Promise<boolean> {
  return createOnce(path, temporaryName(path), mine);
}

/**
 * Replaces the lease.
 * @param stillMay called at the last moment: nothing happens between its true and the rename
 * @returns whether the lease was replaced
 */
export async function replaceLease(
  path: string,
  mine: LeaseFile,
  stillMay: () => boolean = () => true,
): Promise<boolean> {
  const temporary = temporaryName(path);
  try {
    await writeFile(temporary, JSON.stringify(mine), { flag: 'wx', mode: 0o644 });
    if (!stillMay()) return false;
    renameSync(temporary, path);
    return true;
  } finally {
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

/**
 * Replaces a dead lease by `mine`.
 * @param text the content of the dead lease
 * @param round from 1; one more if the claimant of the previous round has died with its claim
 * @returns `taken`; `changed` if the file holds another lease by now; `claimed` if another program
 * has the claim
 */
export async function takeOver(
  path: string,
  text: string,
  round: number,
  mine: LeaseFile,
): Promise<'taken' | 'changed' | 'claimed'> {
  const claim = `${path}.${claimName(text, round)}`;
  if (!(await createOnce(claim, temporaryName(path), mine))) return 'claimed';
  try {
    if ((await readLease(path)) !== text) return 'changed';
    await replaceLease(path, mine);
    return 'taken';
  } finally {
    // Only now: a program that claims the same text from here on finds another text in the file.
    await rm(claim, { force: true }).catch(() => undefined);
  }
}

/**
 * The shape of an owner's name, so that leftovers of a killed program are swept up in the same way.
 */
export function claimName(text: string, round: number): string {
  const digest = createHash('sha256').update(`${round} ${text}`).digest('hex');
  return [0, 8, 12, 16, 20]
    .map((at, part) => digest.slice(at, [8, 12, 16, 20, 32][part]))
    .join('-');
}

/** The same shape too. A new name each time, so that nothing is done twice under one name. */
function temporaryName(path: string): string {
  return `${path}.${randomUUID()}`;
}

/** Errors of link on file systems without hard links: exFAT, SMB, some of FUSE. */
const withoutLinks = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];

/**
 * On every file system that supports link, link fails if the name exists, and creates a complete
 * file.
 */
async function createOnce(path: string, temporary: string, content: LeaseFile): Promise<boolean> {
  const text = JSON.stringify(content);
  const options = { flag: 'wx', mode: 0o644 };
  try {
    await writeFile(temporary, text, options);
    await link(temporary, path).catch(async (error) => {
      if (!withoutLinks.includes(systemCode(error) ?? '')) throw error;
      // Without link the file is created first and written then; a reader of an empty file waits.
      await writeFile(path, text, options);
    });
    return true;
  } catch (error) {
    // ENOENT: the holder has swept up the temporary file as a leftover. The next attempt creates it
    // again.
    if (['EEXIST', 'ENOENT'].includes(systemCode(error) ?? '')) return false;
    throw error;
  } finally {
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}
