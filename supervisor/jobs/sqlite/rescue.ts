/**
 * Saves the jobs of a damaged file in a new one, which then replaces the damaged file: see open-file.ts.
 * Invariants: the damaged file stays where it is. The new file has its name (`successorOf`) only when it is complete and
 * durable; until then a kill or a full disk changes nothing.
 */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { BerthError } from '../../../shared/errors.ts';
import { JobDatabase } from './job-database.ts';
import { type OpenOptions, successorOf } from './protocol.ts';
import { ResultFiles } from './result-files.ts';
import { type Salvage, salvage } from './salvage.ts';

/** @throws BerthError `job_store_unavailable` if the disk is too full, and errors of SQLite and of the file system */
export function rescue({ path, results, most }: OpenOptions): Salvage {
  refuseWithoutRoom(path);
  const copy = `${path}.tmp`;
  const remove = (): void => {
    for (const suffix of ['', '-wal']) rmSync(copy + suffix, { force: true });
  };
  remove();
  try {
    const database = new JobDatabase({ path: copy, results, most });
    let saved: Salvage;
    try {
      saved = salvage(path, database, new ResultFiles(results));
      database.checkpoint();
    } finally {
      database.close();
    }
    const file = openSync(copy, 'r');
    try {
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(copy, successorOf(path));
    return saved;
  } finally {
    remove();
  }
}

/** Each try would fill the disk: other programs need that space. */
function refuseWithoutRoom(path: string): void {
  const sizes = [path, `${path}-wal`].map(
    (each) => statSync(each, { throwIfNoEntry: false })?.size ?? 0,
  );
  const needed = sizes.reduce((sum, size) => sum + size, 0);
  const { bsize, bavail } = statfsSync(dirname(path));
  if (bavail * bsize >= needed) return;
  const mebibytes = Math.ceil(needed / 1024 / 1024);
  throw new BerthError(
    'job_store_unavailable',
    `cannot save the jobs of the damaged file ${path}: the disk has less than ${mebibytes} MiB free, enlarge the volume or delete old files; the store resumes automatically`,
    { details: { reason: 'full' } },
  );
}
