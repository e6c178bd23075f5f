/** Lists the sessions that accepted jobs are to continue. */
import type { JobState } from './job.ts';
import type { JobStore } from './job-store.ts';

const unfinished: readonly JobState[] = ['scheduled', 'queued', 'running', 'parked'];
const pageSize = 200;

/**
 * The ids, in lower case, of the sessions of all jobs that have not ended.
 * @throws BerthError `job_store_unavailable`; the reason of the signal
 */
export async function wantedSessions(
  store: Pick<JobStore, 'list'>,
  signal: AbortSignal,
): Promise<Set<string>> {
  const found = new Set<string>();
  let cursor: string | undefined;
  do {
    signal.throwIfAborted();
    const page = await store.list({ states: unfinished, limit: pageSize, cursor });
    for (const { sessionId } of page.jobs) {
      if (sessionId !== null) found.add(sessionId.toLowerCase());
    }
    cursor = page.cursor ?? undefined;
  } while (cursor !== undefined);
  return found;
}
