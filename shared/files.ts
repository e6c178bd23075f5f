/**
 * Reads and writes files on a volume that another program can write too.
 * Invariants: a write is complete or absent (temporary file, fsync, rename). No symlink is followed
 * at the last step. A path that would leave its root is refused.
 */
import { randomBytes } from 'node:crypto';
import { constants, existsSync, mkdirSync, statSync } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { releaseReserve } from './disk-reserve.ts';
import { BerthError, messageOf, systemCode } from './errors.ts';
import { type Owner, ownerRefused } from './owner.ts';

export interface WriteOptions {
  /** Permission bits of the new file, regardless of the umask. */
  mode?: number;
  owner?: Owner;
  /**
   * False if a power cut may lose or tear the file, because the content can be obtained again. A
   * killed process never does.
   */
  durable?: boolean;
  /** Called when the file is durable under its temporary name, just before the rename. */
  beforeRename?: () => Promise<void>;
}

/**
 * Replaces `path` by a file with `content`, completely or not at all. The file is durable when the
 * function returns, unless `durable` is false. A symlink at `path` is replaced, never followed
 * (therefore not the package write-file-atomic). If the volume is full, berth's reserve on the
 * volume is released for this write.
 * @throws BerthError `volume_unwritable`
 */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  options: WriteOptions = {},
): Promise<void> {
  try {
    await writeOnce(path, content, options);
  } catch (error) {
    if (!isNoRoom(error) || !releaseReserve()) throw error;
    await writeOnce(path, content, options);
  }
}

/**
 * Makes a directory and the missing ones above it. In a volume that was removed while it is mounted Node's `recursive`
 * tries for ever (24.21), with a thread of the pool that has four; this throws.
 * @throws Error of the system
 */
export async function makeDirectories(directory: string, mode = 0o777): Promise<void> {
  try {
    await mkdir(directory, { mode });
  } catch (error) {
    const code = systemCode(error);
    if (code === 'EEXIST' && (await stat(directory)).isDirectory()) return;
    const parent = dirname(directory);
    if (code !== 'ENOENT' || (await stat(parent).catch(() => undefined))) throw error;
    await makeDirectories(parent, mode);
    // Another program may make it meanwhile.
    await mkdir(directory, { mode }).catch((again: unknown) => {
      if (systemCode(again) !== 'EEXIST') throw again;
    });
  }
}

/** The same, without a promise. */
export function makeDirectoriesSync(directory: string, mode = 0o777): void {
  try {
    mkdirSync(directory, { mode });
  } catch (error) {
    const code = systemCode(error);
    if (code === 'EEXIST' && statSync(directory).isDirectory()) return;
    const parent = dirname(directory);
    if (code !== 'ENOENT' || existsSync(parent)) throw error;
    makeDirectoriesSync(parent, mode);
    makeDirectoriesSync(directory, mode);
  }
}

function isNoRoom(error: unknown): boolean {
  const code = systemCode((error as Error).cause) ?? '';
  return code === 'ENOSPC' || code === 'EDQUOT';
}

async function writeOnce(
  path: string,
  content: string | Uint8Array,
  options: WriteOptions,
): Promise<void> {
  const { durable = true } = options;
  const temporary = join(dirname(path), `.berth-${randomBytes(6).toString('hex')}.tmp`);
  try {
    await makeDirectories(dirname(path));
    const file = await open(temporary, 'wx', options.mode ?? 0o644);
    try {
      await file.writeFile(content);
      await file.chmod(options.mode ?? 0o644);
      if (options.owner) await give(file, path, options.owner);
      if (durable) await file.sync();
    } finally {
      await file.close();
    }
    await options.beforeRename?.();
    await rename(temporary, path);
    if (durable) await syncDirectory(dirname(path));
  } catch (error) {
    // If this fails too, the first failure is reported.
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error instanceof BerthError ? error : unwritable(path, error);
  }
}

async function give(file: FileHandle, path: string, owner: Owner): Promise<void> {
  try {
    await file.chown(owner.uid, owner.gid);
  } catch (error) {
    throw await ownerRefused(path, owner, error);
  }
}

/** Makes a rename or removal in `directory` survive a power cut. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** The error for a failed write at `path`, with the remedy that fits its cause. */
export function unwritable(path: string, cause: unknown): BerthError {
  const ownership =
    'set fsGroup to the gid of the container, or run init as root with the capabilities CHOWN, DAC_OVERRIDE and FOWNER';
  const remedies: Record<string, string> = {
    ENOSPC: 'the disk is full, enlarge the volume or delete old files',
    EDQUOT: 'the quota is used up, enlarge it or delete old files',
    EROFS: 'it is mounted read-only, mount it writable',
    EACCES: ownership,
    EPERM: `${ownership}; root with these may have to lift the immutable attribute (chattr -i)`,
  };
  const remedy = remedies[systemCode(cause) ?? ''] ?? 'see the cause';
  return new BerthError(
    'volume_unwritable',
    `cannot write ${path}: ${messageOf(cause)}; ${remedy}`,
    { cause },
  );
}

/**
 * The error for a file that could not be read just now, and so must not be replaced or given up.
 * @param again when the file is read again
 */
export function unreadable(path: string, cause: unknown, again = 'at the next start'): BerthError {
  const remedy = `nothing was changed; it is tried again ${again}`;
  return new BerthError(
    'volume_unwritable',
    `cannot read ${path}: ${messageOf(cause)}; ${remedy}`,
    { cause },
  );
}

/**
 * Reads a regular file of at most `limit` bytes. A symlink at `path` itself is not followed.
 * @returns undefined if nothing exists at `path`
 * @throws Error if the file is not regular, too large or unreadable
 */
export async function readFileBounded(path: string, limit: number): Promise<Buffer | undefined> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    // O_NONBLOCK: a planted FIFO must not hang the reader.
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    if (systemCode(error) === 'ELOOP') throw new Error(`${path} is a symlink`);
    throw error;
  }
  try {
    return await readOpenFile(file, path, limit);
  } finally {
    await file.close();
  }
}

/**
 * Reads an open regular file of at most `limit` bytes.
 * @param path for the message of an error
 * @throws Error if the file is not regular, too large or unreadable
 */
export async function readOpenFile(file: FileHandle, path: string, limit: number): Promise<Buffer> {
  const status = await file.stat();
  if (!status.isFile()) throw new Error(`${path} is not a regular file`);
  if (status.size > limit) throw new Error(`${path} is larger than ${limit} bytes`);
  const buffer = Buffer.alloc(Math.min(limit, status.size) + 1);
  let length = 0;
  for (;;) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
    length += bytesRead;
    if (length > status.size) throw new Error(`${path} grew while it was read`);
    if (bytesRead === 0) return buffer.subarray(0, length);
  }
}

/**
 * Reads a file that an operator mounts. A key of a Secret is a symlink, so links are followed here.
 */
export async function readProvided(path: string, limit: number): Promise<Buffer | undefined> {
  try {
    return await readFileBounded(await realpath(path), limit);
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/**
 * `relative` joined to `root`; refused if the text of the path would leave `root`.
 * @throws Error that names the path
 */
export function inside(root: string, relative: string): string {
  if (outside.test(relative)) {
    throw new Error(`the path ${JSON.stringify(relative)} is not inside ${root}`);
  }
  return `${root}/${relative}`;
}

/** An empty part, `.` or `..`, or a character that some system treats as a separator or an end. */
const outside = /(^|\/)\.{0,2}(\/|$)|[\0\\]/;

/**
 * Returns the first parent of `relative` below `root` that is not a directory, or undefined. A
 * symlink does not count as a directory.
 */
export async function obstructedParent(
  root: string,
  relative: string,
): Promise<string | undefined> {
  inside(root, relative);
  const parts = relative.split('/').slice(0, -1);
  for (let depth = 1; depth <= parts.length; depth++) {
    const parent = parts.slice(0, depth).join('/');
    try {
      if (!(await lstat(join(root, parent))).isDirectory()) return parent;
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }
  return undefined;
}
