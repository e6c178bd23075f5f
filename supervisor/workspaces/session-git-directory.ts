/**
 * Reads and writes the git directory of a session without git.
 * Invariants: all that lies there is untrusted, since the tools of the session can change it. No symlink is followed,
 * what is read is bounded, and a ref is written by its lock, as git does.
 */
import { constants } from 'node:fs';
import { lstat, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BerthError } from '../../shared/errors.ts';
import { inside, makeDirectories, obstructedParent, readFileBounded } from '../../shared/files.ts';
import { isCommitId } from './workspace-request.ts';

/** Milliseconds after which a lock of a ref is a leftover: git holds such a lock for a moment. */
const longestLock = 60_000;
/** Bytes of a text file of git. */
export const largestText = 16 * 1024 * 1024;

export interface Head {
  /** The ref that HEAD names; undefined if HEAD is detached. */
  branch: string | undefined;
  commit: string;
}

/**
 * The commit of HEAD of a git directory, without git.
 * @throws BerthError `publish_refused` if there is none
 */
export async function readHead(gitDirectory: string): Promise<Head> {
  const text = (await readOwn(gitDirectory, 'HEAD', 4_096))?.toString('utf8').trim() ?? '';
  if (isCommitId(text)) return { branch: undefined, commit: text };
  const branch = /^ref: (refs\/.+)$/.exec(text)?.[1];
  if (branch === undefined || !isUsableRef(branch)) {
    throw refused('HEAD names no branch and no commit', 'let the session check a branch out');
  }
  const loose = (await readOwn(gitDirectory, branch, 4_096))?.toString('utf8').trim();
  const packed = loose === undefined ? await packedRef(gitDirectory, branch) : undefined;
  const commit = loose ?? packed ?? '';
  if (isCommitId(commit)) return { branch, commit };
  throw refused(`the branch ${branch.slice(0, 200)} has no commit`, 'let the session commit first');
}

/** Whether the name of a ref can be a path of the git directory; the tools of the session have written that name. */
function isUsableRef(name: string): boolean {
  const isPlain = name.length <= 1_000 && !/\p{Cc}|\.lock(?:\/|$)/u.test(name);
  try {
    return isPlain && inside('.git', name) !== '';
  } catch {
    return false;
  }
}

async function packedRef(gitDirectory: string, name: string): Promise<string | undefined> {
  const text = (await readOwn(gitDirectory, 'packed-refs', largestText))?.toString('utf8') ?? '';
  const line = text.split('\n').find((each) => each.slice(41) === name);
  return line?.slice(0, 40);
}

/** A file of the git directory; undefined if it does not exist. @throws BerthError `publish_refused` */
export async function readOwn(
  gitDirectory: string,
  name: string,
  limit: number,
): Promise<Buffer | undefined> {
  const obstacle = await obstructedParent(gitDirectory, name).catch(() => name);
  if (obstacle !== undefined) throw refused(`.git/${obstacle} is no directory`, 'remove it');
  try {
    return await readFileBounded(join(gitDirectory, name), limit);
  } catch (error) {
    throw refused(`.git/${name} cannot be read (${(error as Error).message})`, 'restore it');
  }
}

/**
 * Writes the ref as git does, by its lock.
 * @param path the caller has checked its parents (`obstructedParent`)
 * @param check is called while no git can change the ref
 * @throws Error if another process has the lock, or as the file system; what `check` throws
 */
export async function writeRef(
  path: string,
  commit: string,
  check: () => Promise<void>,
): Promise<void> {
  const lock = `${path}.lock`;
  await makeDirectories(dirname(path));
  const left = await lstat(lock).catch(() => undefined);
  if (left?.isFile() && Date.now() - left.mtimeMs > longestLock) await rm(lock, { force: true });
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const file = await open(lock, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    await file.writeFile(`${commit}\n`).finally(() => file.close());
    await check();
    await rename(lock, path);
  } catch (error) {
    await rm(lock, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** Refuses a directory that reads its objects or its settings elsewhere. @throws BerthError `publish_refused` */
export async function assertUsable(gitDirectory: string): Promise<void> {
  for (const name of ['.', 'objects', 'objects/pack']) {
    const found = await lstat(join(gitDirectory, name)).catch(() => undefined);
    const shown = name === '.' ? '.git' : `.git/${name}`;
    if (!found?.isDirectory()) throw refused(`${shown} is no directory`, 'begin a new session');
  }
  for (const name of ['objects/info/alternates', 'commondir']) {
    const found = await lstat(join(gitDirectory, name)).catch(() => undefined);
    if (found) throw refused(`a tool has made .git/${name}`, 'let the session remove it');
  }
}

/** The error for a state of the checkout that berth cannot use. */
export function refused(cause: string, remedy: string): BerthError {
  return new BerthError('publish_refused', `cannot read the checkout: ${cause}; ${remedy}`);
}
