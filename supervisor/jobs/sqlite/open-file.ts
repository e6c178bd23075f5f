/**
 * Opens the file of the store: refuses an unfit file system, sets aside what is no file of jobs, and saves the jobs of a
 * damaged file.
 * Invariants: no symlink is followed. A damaged file is moved to `conflicts/`, never deleted, and not before its jobs are
 * in a complete new file, which the next opening puts in place after a kill. A newer file is not touched.
 */
import { lstat, rename } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { syncDirectory } from '../../../shared/files.ts';
import type { Log } from '../../../shared/log.ts';
import { openAside } from '../../../shared/set-aside.ts';
import { checkFileSystem } from './file-system.ts';
import { successorOf } from './protocol.ts';
import type { ThreadClient } from './thread-client.ts';

/** In berth's state directory. */
const jobsFile = 'jobs.sqlite';
/** The directory of large results, in berth's state directory. */
const resultsDirectory = 'job-results';

export interface OpenFileOptions {
  stateDirectory: string;
  /** The most jobs that have not ended. */
  most: number;
  log: Log;
  client: ThreadClient;
}

/** The files that SQLite keeps beside the database. */
const suffixes = ['', '-wal', '-shm', '-journal'];
/** All files of the store but the large results, in berth's state directory. */
export const jobFiles: readonly string[] = [
  ...suffixes.map((suffix) => jobsFile + suffix),
  successorOf(jobsFile),
];

/** @throws BerthError `job_store_unavailable`, `volume_unwritable` */
export async function openFile({
  stateDirectory,
  most,
  log,
  client,
}: OpenFileOptions): Promise<void> {
  await checkFileSystem(stateDirectory);
  const path = join(stateDirectory, jobsFile);
  const results = join(stateDirectory, resultsDirectory);
  const conflicts = join(stateDirectory, 'conflicts');
  const setAside = async (paths: readonly string[], why: string): Promise<void> => {
    const aside = openAside(conflicts, 'state');
    for (const found of paths) {
      if (!(await lstat(found).catch(() => undefined))) continue;
      const saved = await aside.save(found, basename(found));
      log.warn('volume_repaired', 'a file of the jobs was set aside', { path: found, saved, why });
    }
  };
  const files = suffixes.map((suffix) => path + suffix);
  const successor = successorOf(path);
  const replace = async (why: string): Promise<void> => {
    await syncDirectory(stateDirectory);
    await setAside(files, why);
    await rename(successor, path);
    await syncDirectory(stateDirectory);
  };
  for (const file of [...files, successor]) {
    if (await isOther(file, 'isFile')) await setAside([file], 'it is not a regular file');
  }
  if (await isOther(results, 'isDirectory')) await setAside([results], 'it is not a directory');
  if (await lstat(successor).catch(() => undefined)) await replace('its jobs are in a new file');
  const options = { path, results, most };
  const opened = await client.call('open', options);
  if (opened.kind === 'open') return;
  const { reason } = opened;
  const { saved, failed, refused } = await client.call('rescue', options);
  log.error('job_store_damaged', `the file of the jobs is damaged and is set aside: ${reason}`, {
    path,
  });
  await replace(reason);
  const again = await client.call('open', options);
  if (again.kind === 'damaged') throw new Error(`a new file of jobs is damaged: ${again.reason}`);
  log.warn('jobs_salvaged', `saved ${saved} jobs of the damaged file`, { saved, failed, refused });
}

async function isOther(path: string, type: 'isFile' | 'isDirectory'): Promise<boolean> {
  const status = await lstat(path).catch(() => undefined);
  return status !== undefined && !status[type]();
}
