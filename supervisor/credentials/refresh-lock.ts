/**
 * The lock that the CLI (2.1.330) holds while it refreshes its login: a directory beside the login file.
 * Whoever puts another login there holds it too, or a refresh that is under way would write the old
 * login over the new one.
 */
import { lstat, mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { systemCode } from '../../shared/errors.ts';
import { unwritable } from '../../shared/files.ts';

export const refreshLock = '.oauth_refresh.lock';

/** Milliseconds after which the CLI too takes a lock for left behind. */
const stale = 90_000;
/** Milliseconds between two tries. */
const pause = 100;

/**
 * Does `work`, which takes much less than 90 s, while nobody refreshes the login.
 * @param signal ends the waiting, with its reason
 * @param onWait called once if it has to wait
 * @throws BerthError `volume_unwritable`
 */
export async function whileNobodyRefreshes<T>(
  configDirectory: string,
  signal: AbortSignal,
  onWait: () => void,
  work: () => Promise<T>,
): Promise<T> {
  const path = join(configDirectory, refreshLock);
  for (let tries = 0; !(await take(path)); tries++) {
    if (tries === 1) onWait();
    await delay(pause, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
  try {
    return await work();
  } finally {
    await rmdir(path).catch(() => undefined);
  }
}

async function take(path: string): Promise<boolean> {
  try {
    await mkdir(path);
    return true;
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw unwritable(path, error);
    const found = await lstat(path).catch(() => undefined);
    // What is empty and old is a lock that was left, or of a time to come, where the clock was set back;
    // anything else stays.
    if (found && Math.abs(Date.now() - found.mtimeMs) > stale)
      await rmdir(path).catch(() => undefined);
    return false;
  }
}
