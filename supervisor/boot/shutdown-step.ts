/** Steps of the shutdown. A step that fails, or takes too long, does not keep the next step from starting. */
import type { Log } from '../../shared/log.ts';
import { withDeadline } from '../../shared/waiting.ts';

/** Milliseconds for each step; ending a stubborn CLI takes some seconds. */
const stepDeadline = 15_000;

/**
 * Runs one step; never rejects, and returns after the deadline at the latest.
 * @param deadline milliseconds
 */
export async function attempt(
  step: () => unknown,
  log: Log,
  deadline = stepDeadline,
): Promise<void> {
  const late = (): Error => new Error(`the step takes longer than ${deadline / 1_000} s`);
  try {
    await withDeadline(Promise.resolve(step()), deadline, late);
  } catch (error) {
    log.error('failed', 'cannot finish a step of the shutdown', { error });
  }
}
