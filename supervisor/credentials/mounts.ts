/**
 * Mounts that lose logins, told at the start with what to do instead. Only what a look at the files
 * can tell: a mount from the same file system looks like any file.
 */
import { lstat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { credentialsFileName } from '../../shared/credentials.ts';
import type { Log } from '../../shared/log.ts';

export async function tellMounts(configDirectory: string, source: string, log: Log): Promise<void> {
  const path = join(configDirectory, credentialsFileName);
  if (await isMountedFile(path)) {
    const sentence =
      'the login file itself is mounted: the CLI cannot replace it, so a refreshed login is lost; mount the whole directory, without subPath, and the login as BERTH_CREDENTIALS_SOURCE';
    log.error('credentials_mounted', sentence, { path });
  }
  if (await isMountedFile(source)) {
    const sentence =
      'the source of the login is mounted by subPath: a new login in the Secret is not seen before a restart; mount the Secret as a directory';
    log.warn('credentials_mounted', sentence, { path: source });
  }
}

/** Whether a file is a mount of its own: it lies on another device than its directory. */
async function isMountedFile(path: string): Promise<boolean> {
  try {
    const [file, directory] = await Promise.all([lstat(path), lstat(dirname(path))]);
    return file.isFile() && file.dev !== directory.dev;
  } catch {
    return false;
  }
}
