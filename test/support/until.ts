/**
 * Waits for a condition, and fails with what it waited for. The pause between two looks grows with the time that has
 * passed, from 5 to 50 ms: a look at `/proc` or over HTTP takes milliseconds of CPU, which what is awaited needs.
 */
import { setTimeout as delay } from 'node:timers/promises';

/**
 * What `look` gives once it is neither undefined nor false.
 * @param deadline milliseconds; generous, since a slow machine must not fail a test
 */
export async function until<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  deadline = 90_000,
): Promise<T> {
  const started = performance.now();
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    const waited = performance.now() - started;
    if (waited > deadline) throw new Error(`waited in vain until ${what}`);
    await delay(Math.min(50, Math.max(5, waited / 20)));
  }
}
