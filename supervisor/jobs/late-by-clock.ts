/**
 * Makes parked jobs due that would wait for the time by which the clock was set back. A store cannot find them in an
 * index, so all parked jobs are listed: call it seldom.
 */
import { isLateByClock } from './due.ts';
import type { JobStore } from './job-store.ts';

const pageSize = 200;

/** @returns the number of jobs that are due now */
export async function wakeLateByClock(
  store: Pick<JobStore, 'list' | 'update'>,
  now: number,
): Promise<number> {
  let woken = 0;
  let cursor: string | undefined;
  do {
    const page = await store.list({ states: ['parked'], limit: pageSize, cursor });
    for (const { id } of page.jobs.filter((job) => isLateByClock(job, now))) {
      await store.update(id, (job) =>
        isLateByClock(job, now) ? { ...job, dueAt: now } : undefined,
      );
      woken += 1;
    }
    cursor = page.cursor ?? undefined;
  } while (cursor !== undefined);
  return woken;
}
