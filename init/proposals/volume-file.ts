/**
 * Reads a file that the CLI and its tools may replace at any moment, also while it is read.
 * Invariants: only regular files of the volume itself are read: no symlink is followed, also none
 * that replaces a parent directory meanwhile. A file with a second name (a hard link) is refused,
 * because that name may be the login's.
 */
import { systemCode } from '../../shared/errors.ts';
import { inside } from '../../shared/files.ts';
import { isAt, openInside } from '../../shared/open-inside.ts';

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
  inside(root, path);
  const opened = await openInside(root, path).catch((error: unknown) => {
    if (systemCode(error) === 'EACCES') return undefined;
    throw error;
  });
  if (!opened) return undefined;
  const { file, status } = opened;
  try {
    if (status.nlink > 1) return undefined;
    if (status.size > limit) return 'too_large';
    const buffer = Buffer.alloc(status.size + 1);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    const after = await file.stat();
    const isSame = after.mtimeMs === status.mtimeMs && bytesRead === status.size;
    if (!isSame || !isAt(root, path, status)) return undefined;
    return {
      content: buffer.subarray(0, bytesRead),
      executable: (status.mode & 0o100) !== 0,
      changedAt: status.mtime,
    };
  } finally {
    await file.close();
  }
}
