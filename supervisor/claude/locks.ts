/**
 * The lock files of the CLI (2.1.330): their names, their holders, and when a lock counts as left
 * behind. A lock is an empty directory that its holder touches every 5 s. The lock of a token
 * refresh has a record that names its holder; the other two locks have no record.
 * init reserves the same names in `init/volume/paths.ts`, since it imports nothing of the supervisor.
 * Invariants: only empty directories are removed; a lock that was taken after it was seen is not
 * removed.
 */
import { lstatSync, rmdirSync, rmSync, type Stats } from 'node:fs';
import { lstat, mkdir, realpath, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { systemCode } from '../../shared/errors.ts';
import { readFileBounded, unwritable } from '../../shared/files.ts';
import { pause, sleep } from '../../shared/waiting.ts';

/** In the configuration directory: held while a process refreshes the login. */
export const refreshLock = '.oauth_refresh.lock';
const recordFile = `${refreshLock}.owner`;
const longestRecord = 4_096;
const recordSchema = z.object({
  pid: z.int(),
  lockBirthtimeMs: z.number(),
  legacyLockBirthtimeMs: z.number().optional(),
});

/**
 * Milliseconds: a holder has touched its lock within this time. The CLI itself takes a lock after
 * 15 s.
 */
const abandonedAfter = 12_000;
/** Milliseconds without a touch after which the CLI takes the lock of a refresh. */
const refreshAbandonedAfter = 90_000;
/** Milliseconds between two checks of a lock that another process holds. */
const interval = { take: 100, wait: 20 };

export interface SeenLock {
  path: string;
  /** True for the lock of a token refresh. */
  isRefresh: boolean;
  /** The process that holds the lock, if the record names it. */
  holder: number | undefined;
  isAbandoned: boolean;
  /** Identifies exactly this lock: another lock may be taken at the same path. */
  identity: Pick<Stats, 'ino' | 'birthtimeMs'>;
}

/** The locks of a configuration directory that are held, or were left behind, now. */
export async function findLocks(configDirectory: string): Promise<SeenLock[]> {
  const directory = await realpath(configDirectory).catch(() => configDirectory);
  const refresh = join(directory, refreshLock);
  const paths = [refresh, `${directory}.lock`, join(directory, '.storage-write.lock')];
  const found = paths.map(see);
  const record = await readRecord(directory);
  const births = [record?.lockBirthtimeMs, record?.legacyLockBirthtimeMs];
  return paths.flatMap((path, index) => {
    const stats = found[index];
    if (!stats) return [];
    const holder = births[index] === stats.birthtimeMs ? record?.pid : undefined;
    const isAbandoned = isUntouched(stats, abandonedAfter);
    return [{ path, isRefresh: path === refresh, holder, isAbandoned, identity: stats }];
  });
}

/** Removes a lock that was seen, and the record of its holder. Never throws. */
export function removeLock({ path, isRefresh, identity }: SeenLock): void {
  try {
    // Nothing is awaited between this comparison and the removal.
    const { ino, birthtimeMs } = lstatSync(path);
    if (ino !== identity.ino || birthtimeMs !== identity.birthtimeMs) return;
    rmdirSync(path);
    if (isRefresh) rmSync(`${path}.owner`, { force: true });
  } catch {
    // Another process has removed it, or it is not empty, so it is no lock.
  }
}

/** Removes the record of a refresh whose lock does not exist any more. Never rejects. */
export async function removeRefreshRecord(configDirectory: string): Promise<void> {
  await rm(join(configDirectory, recordFile), { force: true }).catch(() => undefined);
}

/**
 * Resolves when the process refreshes no token, or after `atMost` milliseconds. The refresh token is used up
 * once it was sent: an end of the process before the next token is stored would lose the login.
 */
export async function refreshEnded(
  { pid, configDirectory }: { pid: number; configDirectory: string },
  atMost: number,
): Promise<void> {
  const end = performance.now() + atMost;
  while (performance.now() < end) {
    const held = await lstat(join(configDirectory, refreshLock)).catch(() => undefined);
    if (!held?.isDirectory() || isUntouched(held, abandonedAfter)) return;
    const record = await readRecord(configDirectory);
    if (record?.lockBirthtimeMs === held.birthtimeMs && record.pid !== pid) return;
    await pause(interval.wait);
  }
}

/**
 * Runs `work` while no process refreshes the login: a running refresh would write the old login
 * over the new one. The work must take much less than 90 s.
 * @param signal ends the wait for the lock, with its reason
 * @param onWait called once if the lock is held
 * @throws BerthError `volume_unwritable`; the rejection of the work
 */
export async function withRefreshLock<T>(
  configDirectory: string,
  signal: AbortSignal,
  onWait: () => void,
  work: () => Promise<T>,
): Promise<T> {
  const path = join(configDirectory, refreshLock);
  for (let tries = 0; !(await take(path)); tries++) {
    if (tries === 1) onWait();
    await sleep(interval.take, signal);
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
    if (found && isUntouched(found, refreshAbandonedAfter)) {
      await rmdir(path).catch(() => undefined);
    }
    return false;
  }
}

function see(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch {
    return undefined;
  }
}

/** Undefined if there is no record, or none that can be read: the CLI's tools can write there. */
async function readRecord(directory: string): Promise<z.infer<typeof recordSchema> | undefined> {
  try {
    const content = await readFileBounded(join(directory, recordFile), longestRecord);
    return content && recordSchema.parse(JSON.parse(content.toString()));
  } catch {
    return undefined;
  }
}

/** A time far in the future counts too: the clock was then set back. */
function isUntouched({ mtimeMs }: Stats, milliseconds: number): boolean {
  return Math.abs(Date.now() - mtimeMs) >= milliseconds;
}
