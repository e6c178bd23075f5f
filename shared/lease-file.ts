/**
 * The lease as a file. Always holds: it is whole or absent; it is created only where none is; and of
 * all who want to replace the same dead one only one may, who has made the claim on just that text.
 */
import { createHash, randomUUID } from 'node:crypto';
import { renameSync } from 'node:fs';
import { link, rm, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { messageOf, systemCode } from './errors.ts';
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

/** What there is of the lease that `owner` holds; only another's record says that it was lost. */
export type Look =
  | { kind: 'mine' }
  | { kind: 'other'; holder: string | undefined }
  | { kind: 'absent' }
  | { kind: 'unreadable'; reason: string };

/** An owner is told in every version. */
const anyVersion = z.object({ owner: z.string(), holder: z.string().optional() });

export async function lookAtLease(path: string, owner: string): Promise<Look> {
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
  return createOnce(path, temporaryName(path), mine);
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
  if (!(await createOnce(claim, temporaryName(path), mine))) return 'claimed';
  try {
    if ((await readLease(path)) !== text) return 'changed';
    await replaceLease(path, mine);
    return 'taken';
  } finally {
    // Only now: whoever claims the same text from here on finds another one in the file.
    await rm(claim, { force: true }).catch(() => undefined);
  }
}

/** Of the same shape as an owner's name: what is left of a killed one is swept up the same way. */
export function claimName(text: string, round: number): string {
  const digest = createHash('sha256').update(`${round} ${text}`).digest('hex');
  return [0, 8, 12, 16, 20]
    .map((at, part) => digest.slice(at, [8, 12, 16, 20, 32][part]))
    .join('-');
}

/** Of the same shape too; a new one each time, so that nothing is done twice under one name. */
function temporaryName(path: string): string {
  return `${path}.${randomUUID()}`;
}

/** What link fails with on file systems that know no second name of a file: exFAT, SMB, some of FUSE. */
const withoutLinks = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];

/** link fails where the name exists, on every file system that has it, and makes a file that is whole. */
async function createOnce(path: string, temporary: string, content: LeaseFile): Promise<boolean> {
  const text = JSON.stringify(content);
  const options = { flag: 'wx', mode: 0o644 };
  try {
    await writeFile(temporary, text, options);
    await link(temporary, path).catch(async (error) => {
      if (!withoutLinks.includes(systemCode(error) ?? '')) throw error;
      // One creates it all the same; whoever reads it before it has its text waits.
      await writeFile(path, text, options);
    });
    return true;
  } catch (error) {
    // ENOENT: the holder has swept up what looked left behind. The next try makes it again.
    if (['EEXIST', 'ENOENT'].includes(systemCode(error) ?? '')) return false;
    throw error;
  } finally {
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}
