/** Steps of stopping: neither the failure of one nor its slowness keeps the next from its turn. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Log } from '../../shared/log.ts';

/** Milliseconds for each step; ending a stubborn CLI takes some seconds. */
const stepDeadline = 15_000;

/** Resolves after so many milliseconds, or when `now` aborts. */
export async function pauseFor(milliseconds: number, now: AbortSignal | undefined): Promise<void> {
  if (milliseconds === 0) return;
  await delay(milliseconds, undefined, now ? { signal: now } : {}).catch(() => undefined);
}

/**
 * Runs one step; never rejects, and returns after the deadline at the latest.
 * @param deadline milliseconds
 */
export async function attempt(
  step: () => unknown,
  log: Log,
  deadline = stepDeadline,
): Promise<void> {
  const over = new AbortController();
  const late = delay(deadline, undefined, { signal: over.signal }).then(
    () => {
      throw new Error(`it takes longer than ${deadline / 1_000} s`);
    },
    () => undefined,
  );
  try {
    await Promise.race([step(), late]);
  } catch (error) {
    log.error('failed', 'cannot finish a step of stopping', { error });
  } finally {
    over.abort();
  }
}
