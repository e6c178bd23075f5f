/**
 * Retries the start of a CLI that failed for a transient reason: all processes or all memory are in
 * use. Such a failure says nothing about the CLI.
 */
import { backoff } from '../../shared/backoff.ts';
import { messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { sleep } from '../../shared/waiting.ts';
import { isPassingStart } from '../claude/start-error.ts';

export interface PatienceOptions {
  log: Log;
  signal: AbortSignal;
  /** Milliseconds from the first attempt in which another attempt may begin. */
  patience?: number | undefined;
}

const usualPatience = 60_000;
const pauses = { first: 500, longest: 5_000 };

/**
 * Repeats the work until it succeeds, fails permanently, or the time is over.
 * @throws the error of the last attempt; the signal's reason
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
      if (!isPassingStart(error) || performance.now() + pause > end) throw error;
      const text = `the CLI cannot be tested yet; retrying: ${messageOf(error)}`;
      log.warn('cli_tested', text, { retry_ms: pause });
    }
    await sleep(pause, signal);
  }
}
