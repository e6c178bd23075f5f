/**
 * Failures of starting a CLI that pass by themselves: all processes or all memory are taken at the moment.
 * They say nothing of the CLI, so what failed for them is tried again for a while.
 */
import { backoff } from '../../shared/backoff.ts';
import { messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { sleep } from '../../shared/waiting.ts';
import { isPassing } from '../claude/start-error.ts';

export interface PatienceOptions {
  log: Log;
  signal: AbortSignal;
  /** Milliseconds from the first try in which another one may begin. */
  patience?: number | undefined;
}

const usualPatience = 60_000;
const pauses = { first: 500, longest: 5_000 };

/**
 * Does it again until it succeeds, fails for good, or time is up.
 * @throws what the last try has thrown; the signal's reason
 */
export async function whileItPasses<T>(
  { log, signal, patience = usualPatience }: PatienceOptions,
  work: () => Promise<T>,
): Promise<T> {
  const end = performance.now() + patience;
  for (let failures = 1; ; failures++) {
    const pause = backoff(failures, pauses);
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      if (!isPassing(error) || performance.now() + pause > end) throw error;
      const text = `the CLI cannot be tested yet, and is tried again: ${messageOf(error)}`;
      log.warn('cli_tested', text, { retry_ms: pause });
    }
    await sleep(pause, signal);
  }
}
