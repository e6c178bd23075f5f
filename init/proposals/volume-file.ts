/**
 * Reads a file that the CLI and its tools may replace at any moment, also while it is read.
 * Invariants: only regular files of the volume itself are read: no symlink is followed, also none
 * that replaces a parent directory meanwhile. A file with a second name (a hard link) is refused,
 * because that name may be the login's.
 */
import { constants, lstatSync, realpathSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { systemCode } from '../../shared/errors.ts';
import { inside } from '../../shared/files.ts';

export interface VolumeFile {
  content: Buffer;
  executable: boolean;
  changedAt: Date;
}

/** @returns undefined if there is no such file, or the path is not safe to read */
export async function readVolumeFile(
  root: string,
  path: string,
  limit: number,
): Promise<VolumeFile | 'too_large' | undefined> {
  const full = inside(root, path);
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(full, flags).catch((error: unknown) => {
    const code = systemCode(error) ?? '';
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'ENXIO'].includes(code)) return undefined;
    throw error;
  });
  if (!file) return undefined;
  try {
    const status = await file.stat();
    const { dev } = lstatSync(realpathSync(root));
    if (!status.isFile() || status.dev !== dev || status.nlink > 1) return undefined;
    if (status.size > limit) return 'too_large';
    const buffer = Buffer.alloc(status.size + 1);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    const after = await file.stat();
    const isSame = after.mtimeMs === status.mtimeMs && bytesRead === status.size;
    if (!isSame || !isAt(root, path, status.ino)) return undefined;
    return {
      content: buffer.subarray(0, bytesRead),
      executable: (status.mode & 0o100) !== 0,
      changedAt: status.mtime,
    };
  } finally {
    await file.close();
  }
}

/** Whether the path, without any symlink in it, is still the file with this inode. */
function isAt(root: string, path: string, inode: number): boolean {
  try {
    const real = inside(realpathSync(root), path);
    return realpathSync(real) === real && lstatSync(real).ino === inode;
  } catch {
    return false;
  }
}
