/** Turns an error of SQLite or of the file system into the error of the store, with the remedy that fits its cause. */
import { BerthError, messageOf, systemCode } from '../../../shared/errors.ts';

export type StoreFailure = 'full' | 'locked' | 'damaged' | 'read_only' | 'unknown';

/** Primary result codes of SQLite. */
const failures: Readonly<Record<number, StoreFailure>> = {
  5: 'locked',
  6: 'locked',
  8: 'read_only',
  11: 'damaged',
  13: 'full',
  26: 'damaged',
};

const constraint = 19;

const remedies: Readonly<Record<StoreFailure, string>> = {
  full: 'the disk is full, enlarge the volume or delete old files; the store resumes automatically',
  locked: 'another program has locked the file, end the other pod or program',
  damaged: 'the file is damaged; the store sets it aside and saves what can be read',
  read_only: 'the volume or the file cannot be written, mount it writable and check its owner',
  unknown: 'see the cause and check the volume',
};

/** @param path of the database */
export function storeError(error: unknown, path: string): BerthError {
  if (error instanceof BerthError) return error;
  const failure = failureOf(error);
  if (failure === undefined) {
    return new BerthError(
      'internal',
      `cannot use the jobs in ${path}: ${messageOf(error)}; this is a bug in berth, please report it`,
      { cause: error },
    );
  }
  return new BerthError(
    'job_store_unavailable',
    `cannot use the jobs in ${path}: ${messageOf(error)}; ${remedies[failure]}`,
    { cause: error, details: { reason: failure } },
  );
}

/** Undefined if the error is neither of SQLite nor of the file system. */
function failureOf(error: unknown): StoreFailure | undefined {
  const code = systemCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'full';
  if (code === 'EROFS' || code === 'EACCES' || code === 'EPERM') return 'read_only';
  const result = (error as { errcode?: unknown } | null | undefined)?.errcode;
  // A broken constraint is a bug, not a state of the disk.
  if (typeof result === 'number' && (result & 0xff) === constraint) return undefined;
  if (typeof result === 'number') return failures[result & 0xff] ?? 'unknown';
  return code !== undefined && /^E[A-Z0-9]+$/.test(code) ? 'unknown' : undefined;
}
