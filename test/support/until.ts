/** Waits for a condition: looks every few milliseconds, and fails with what it waited for. */
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
    if (performance.now() - started > deadline) throw new Error(`waited in vain until ${what}`);
    await delay(5);
  }
}
