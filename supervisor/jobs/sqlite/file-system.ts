/** Refuses file systems on which SQLite can lose or damage jobs: locks or flushes do not reach the server there. */
import { statfs } from 'node:fs/promises';
import { BerthError } from '../../../shared/errors.ts';

/** By their number in statfs(2). FUSE is not among them: virtiofs and mergerfs report FUSE, and work. */
const unfit: Readonly<Record<number, string>> = {
  26985: 'NFS',
  4283649346: 'CIFS',
  4266872130: 'SMB',
  20859: 'SMB',
  16914839: '9p',
  1397113167: 'AFS',
};

/** @throws BerthError `job_store_unavailable` if the directory is on such a file system */
export async function checkFileSystem(directory: string): Promise<void> {
  const found = await statfs(directory).catch(() => undefined);
  if (found) refuseUnfit(directory, found.type);
}

/** The same for a known number of statfs. */
export function refuseUnfit(directory: string, type: number): void {
  const kind = unfit[type >>> 0];
  if (kind === undefined) return;
  throw new BerthError(
    'job_store_unavailable',
    `cannot keep jobs in ${directory}: it is on ${kind}, where SQLite can lose or damage them; use a local or block volume (ReadWriteOnce), or set BERTH_REDIS_URL`,
    { details: { reason: 'file_system' } },
  );
}
