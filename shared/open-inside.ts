/**
 * Opens a file of a directory whose content tools may replace at any moment.
 * Invariants: only regular files of the directory itself are opened. A symlink is not followed, also
 * not a symlink that replaces a parent directory meanwhile. So a tool cannot make a process read a
 * file that only this process sees, such as a mounted secret.
 */
import { constants, lstatSync, realpathSync, type Stats } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { systemCode } from './errors.ts';

export interface OpenFile {
  file: FileHandle;
  /** Of the open file. */
  status: Stats;
}

/**
 * @param root a directory that tools cannot replace
 * @param path relative to `root`
 * @returns undefined if there is no such file, or the path leads out of `root` or to another file
 * system; otherwise the caller closes the file
 */
export async function openInside(root: string, path: string): Promise<OpenFile | undefined> {
  // O_NONBLOCK: a planted FIFO must not hang the reader.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(`${root}/${path}`, flags).catch((error: unknown) => {
    const code = systemCode(error) ?? '';
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes(code)) return undefined;
    throw error;
  });
  if (!file) return undefined;
  try {
    const status = await file.stat();
    const { dev } = lstatSync(realpathSync(root));
    if (status.isFile() && status.dev === dev && isAt(root, path, status)) return { file, status };
  } catch (error) {
    await file.close();
    throw error;
  }
  await file.close();
  return undefined;
}

/** Whether the path, without any symlink in it, is still that file. */
export function isAt(root: string, path: string, { dev, ino }: Stats): boolean {
  try {
    const real = `${realpathSync(root)}/${path}`;
    const found = lstatSync(real);
    return realpathSync(real) === real && found.ino === ino && found.dev === dev;
  } catch {
    return false;
  }
}

/** Copies an open file to `to`, which must not exist. */
export async function copyOpenFile({ file }: OpenFile, to: string, mode: number): Promise<void> {
  const made = await open(to, 'wx', mode);
  try {
    await made.writeFile(file.createReadStream({ start: 0, autoClose: false }));
    await made.chmod(mode);
  } catch (error) {
    await rm(to, { force: true }).catch(() => undefined);
    throw error;
  } finally {
    await made.close();
  }
}
