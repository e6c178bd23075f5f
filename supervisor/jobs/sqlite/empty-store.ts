/**
 * The answers of a store without a file: most installations have no jobs, and then need neither a file nor a thread for
 * them.
 * Invariant: `add` is not among them, so that the first job creates the file.
 */
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobCounts } from '../job-store.ts';
import { checkFileSystem } from './file-system.ts';
import { jobFiles } from './open-file.ts';
import type { Calls } from './protocol.ts';

const noCounts: JobCounts = {
  byState: {
    ...{ scheduled: 0, queued: 0, running: 0, parked: 0 },
    ...{ succeeded: 0, failed: 0, cancelled: 0, expired: 0 },
  },
  parked: {},
  oldestQueued: null,
  callbacks: { pending: 0, oldest: null },
};

type Answered = Exclude<keyof Calls, 'open' | 'rescue' | 'add' | 'shrink' | 'close'>;

const answers: { readonly [K in Answered]: () => ReturnType<Calls[K]> } = {
  replace: () => false,
  remove: () => false,
  advance: () => [],
  claim: () => undefined,
  claimCallback: () => undefined,
  reclaim: () => [],
  unpark: () => [],
  appendEvents: () => undefined,
  prune: () => ({ removed: [], isDone: true }),
  read: () => undefined,
  readHead: () => undefined,
  findByKey: () => undefined,
  lanes: () => [],
  nextDue: () => ({ job: undefined, callback: undefined }),
  events: () => [],
  list: () => ({ jobs: [], cursor: null }),
  counts: () => noCounts,
};

/** By call. */
export const emptyAnswers: { readonly [K in keyof Calls]?: () => ReturnType<Calls[K]> } = answers;

/** Whether there is no file of jobs, and a file may be made. Never rejects. */
export async function isEmpty(stateDirectory: string): Promise<boolean> {
  try {
    await checkFileSystem(stateDirectory);
  } catch {
    return false;
  }
  const found = await Promise.all(
    jobFiles.map((name) => lstat(join(stateDirectory, name)).then(() => true, isThere)),
  );
  return !found.includes(true);
}

function isThere({ code }: NodeJS.ErrnoException): boolean {
  return code !== 'ENOENT';
}
