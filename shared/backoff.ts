/** Exponential backoff: the wait before a retry doubles with each failure in a row, up to a maximum. */

export interface Backoff {
  /** Milliseconds after the first failure. */
  first: number;
  /** The longest wait, in milliseconds. */
  longest: number;
  /** The share of each wait that is random, from 0 (none) to 1; 0 if absent. */
  jitter?: number;
}

/**
 * The wait before the next try, in milliseconds. Jitter only shortens a wait.
 * @param failures in a row so far, from 1
 * @param random returns a number from 0 to 1
 */
export function backoff(
  failures: number,
  { first, longest, jitter = 0 }: Backoff,
  random: () => number = Math.random,
): number {
  const whole = Math.min(longest, first * 2 ** (failures - 1));
  return whole * (1 - jitter * random());
}

/**
 * The wait before the next round of a task that runs at an interval, in milliseconds: the interval, up to 5 % shorter or
 * longer, so that many pods do not call a server together. After failures the wait begins with `first`, or with the
 * interval if that is shorter, and grows to `longest`, or to the interval if that is longer.
 * @param failures in a row so far; 0 after a success
 */
export function waitForRound(
  failures: number,
  interval: number,
  { first, longest, jitter = 0 }: Backoff,
  random: () => number = Math.random,
): number {
  if (failures === 0) return interval * (0.95 + 0.1 * random());
  const bounds = { first: Math.min(interval, first), longest: Math.max(interval, longest), jitter };
  return backoff(failures, bounds, random);
}
