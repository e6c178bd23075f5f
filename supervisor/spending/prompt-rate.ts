/**
 * Bounds how many prompts a token starts in an hour: a loop of a workflow ends there. The hour is a sliding one.
 * Invariants: for each token and profile at most as many times are kept as the limit has prompts. The clock is monotonic,
 * so setting the time grants nothing. A restart forgets the starts of the last hour.
 */
import { BerthError } from '../../shared/errors.ts';

const hour = 3_600_000;

export class PromptRate {
  /** The starts of the last hour, the oldest first, by profile and token. */
  readonly #starts = new Map<string, number[]>();
  readonly #elapsed: () => number;

  /** @param elapsed milliseconds of a monotonic clock */
  constructor(elapsed: () => number = () => performance.now()) {
    this.#elapsed = elapsed;
  }

  /**
   * Counts the start of a prompt.
   * @param limit prompts an hour
   * @returns the time of the start, for `forget`
   * @throws BerthError `prompts_exceeded` if the token has started so many; that prompt does not count
   */
  start(token: string, profile: string, limit: number): number {
    const now = this.#elapsed();
    const recent = this.#recent(token, profile, now);
    const blocking = recent.at(-limit);
    if (blocking !== undefined && recent.length >= limit) {
      throw promptsExceeded(token, profile, limit, blocking + hour - now);
    }
    recent.push(now);
    this.#forgetOld(now);
    return now;
  }

  /** As `start`, of a prompt that may start whatever the count is. */
  note(token: string, profile: string, limit: number): number {
    const now = this.#elapsed();
    const recent = this.#recent(token, profile, now);
    recent.push(now);
    recent.splice(0, recent.length - limit);
    this.#forgetOld(now);
    return now;
  }

  /** Takes the start of that time back: its prompt was not sent. */
  forget(token: string, profile: string, start: number): void {
    const recent = this.#recent(token, profile, this.#elapsed());
    const index = recent.lastIndexOf(start);
    if (index >= 0) recent.splice(index, 1);
  }

  #recent(token: string, profile: string, now: number): number[] {
    const key = JSON.stringify([profile, token]);
    const known = this.#starts.get(key) ?? [];
    const recent = known.slice(known.findLastIndex((at) => at <= now - hour) + 1);
    this.#starts.set(key, recent);
    return recent;
  }

  /** Tokens and profiles come and go. */
  #forgetOld(now: number): void {
    for (const [key, starts] of this.#starts) {
      if ((starts.at(-1) ?? 0) <= now - hour) this.#starts.delete(key);
    }
  }
}

/** @param wait milliseconds until the next prompt may start */
export function promptsExceeded(
  token: string,
  profile: string,
  limit: number,
  wait: number,
): BerthError {
  return new BerthError(
    'prompts_exceeded',
    `cannot start the prompt: the token ${token} has started ${limit} prompts with the profile ${profile} within an hour; check whether a workflow loops, and wait, or raise limits.prompts_per_hour in the profiles file`,
    { details: { limit, retry_after: Math.max(1, Math.ceil(wait / 1_000)) } },
  );
}
