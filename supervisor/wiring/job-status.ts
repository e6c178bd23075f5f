/** The jobs section of `GET /v1/status`. */
import { within } from '../../shared/waiting.ts';
import type { Status } from '../http/status.ts';
import type { JobStore } from '../jobs/job-store.ts';

/** Milliseconds for one reading of the store: the status is also for the time when the store hangs. */
const patience = 2_000;

export async function describeJobs(
  store: Pick<JobStore, 'counts' | 'describe'> | undefined,
): Promise<Status['jobs']> {
  if (!store) return null;
  const counts = await within(store.counts(Date.now()), patience).catch(() => undefined);
  return {
    store: store.describe(),
    states: counts?.byState ?? null,
    parked: counts?.parked ?? null,
    oldest_queued_at: isoTime(counts?.oldestQueued),
    callbacks: counts
      ? { pending: counts.callbacks.pending, oldest_at: isoTime(counts.callbacks.oldest) }
      : null,
  };
}

function isoTime(milliseconds: number | null | undefined): string | null {
  return milliseconds == null ? null : new Date(milliseconds).toISOString();
}
