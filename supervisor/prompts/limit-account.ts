/**
 * What is known of the limits of one login, and whether a prompt may be sent: open, closed until a
 * time, or on trial (the time was a guess that has passed: one prompt at a time).
 * Always holds: no clock of its own; an answer opens it only if its prompt was sent after it closed.
 */
import type { BerthError } from '../../shared/errors.ts';
import type { UsageLimit } from '../claude/usage-limit.ts';

export type LimitReason = 'usage_limit' | 'rate_limited';

export interface AccountState {
  login: string;
  closed: boolean;
  /** Why it is closed or on trial. */
  reason: LimitReason | null;
  /** ISO 8601; when it opens if it is closed. */
  resets_at: string | null;
  /** True if nobody told that time. */
  guessed: boolean;
  /** The used share of each window, 0 to 1, as last told. */
  utilization: Record<string, number>;
  /** When each window ends, ISO 8601; of those of which that was told. */
  window_resets_at: Record<string, string>;
  /** One sentence for each window that is nearly used up. */
  warnings: string[];
}

const minute = 60_000;
/** Nobody is locked out for longer by what a peer says: the longest window has seven days. */
const longestClosed = 8 * 24 * 60 * minute;
/** First and longest guess, in milliseconds. */
const guesses = {
  usage_limit: [minute, 30 * minute],
  rate_limited: [15_000, 2 * minute],
} as const;
/** Milliseconds that a prompt leaves to another's try. */
const trialPause = 5_000;
/** Windows of all use of the account; others, such as `seven_day_opus`, leave other models free. */
const wholeAccount = new Set(['five_hour', 'seven_day', 'overage']);

interface Closing {
  reason: LimitReason;
  since: number;
  until: number;
  guessed: boolean;
}

export class Account {
  readonly #login: string;
  #closing: Closing | undefined;
  /** How often in a row it was closed by a guess. */
  #guesses = 0;
  #probing = false;
  #limit: UsageLimit | undefined;
  #windows: UsageLimit['windows'] = {};

  constructor(login: string) {
    this.#login = login;
  }

  /** Undefined if nothing may be sent now, else whether this prompt is the one that tries. */
  enter(now: number): boolean | undefined {
    const closing = this.#closingAt(now);
    if (!closing) return false;
    if (closing.until > now || this.#probing) return undefined;
    if (!closing.guessed) {
      this.#closing = undefined;
      return false;
    }
    this.#probing = true;
    return true;
  }

  /** When it is worth asking again, if it lets nobody in now. */
  opensAt(now: number): number {
    const until = this.#closingAt(now)?.until ?? now;
    return until > now ? until : now + trialPause;
  }

  /** A prompt that was let in was not sent. */
  withdraw(probing: boolean): void {
    if (probing) this.#probing = false;
  }

  /** How a prompt ended that was let in at `begun`. */
  leave(begun: number, probing: boolean, error: BerthError | undefined, now: number): void {
    if (probing) this.#probing = false;
    if (error?.code === 'usage_limit' || error?.code === 'rate_limited') {
      if (error.details.model_only !== true) this.#close(error.code, timeOf(error, now), now);
      return;
    }
    if (error) return;
    const closing = this.#closingAt(now);
    // The answer to a prompt that was on its way before says nothing, nor does one against a time.
    if (closing && (begun < closing.since || closing.until > now)) return;
    this.#closing = undefined;
    this.#guesses = 0;
  }

  heard(limit: UsageLimit, now: number): void {
    this.#limit = limit;
    Object.assign(this.#windows, limit.windows);
    if (closesAccount(limit)) this.#close('usage_limit', limit.resetsAt, now);
  }

  reset(): void {
    this.#closing = undefined;
    this.#guesses = 0;
    this.#limit = undefined;
    this.#windows = {};
  }

  stateAt(now: number): AccountState {
    const closing = this.#closingAt(now);
    const closed = closing !== undefined && (closing.until > now || closing.guessed);
    const current = Object.entries(this.#windows).filter(
      ([, { resetsAt }]) => resetsAt === undefined || resetsAt > now,
    );
    return {
      login: this.#login,
      closed,
      reason: closed ? closing.reason : null,
      resets_at: closed ? new Date(closing.until).toISOString() : null,
      guessed: closed && closing.guessed,
      utilization: Object.fromEntries(
        current.map(([name, { utilization }]) => [name, utilization]),
      ),
      window_resets_at: Object.fromEntries(
        current.flatMap(([name, { resetsAt }]) =>
          // What lies further away is no time of a window, and perhaps no date.
          resetsAt === undefined || resetsAt > now + longestClosed
            ? []
            : [[name, new Date(resetsAt).toISOString()]],
        ),
      ),
      warnings: this.#limit ? warningsOfLimit(this.#limit, now) : [],
    };
  }

  /** As it is after the clock was set back: a guess takes as long as before, a time that was told stays. */
  #closingAt(now: number): Closing | undefined {
    const closing = this.#closing;
    if (!closing || now >= closing.since) return closing;
    const { since, until, guessed } = closing;
    const latest = guessed ? now + (until - since) : now + longestClosed;
    this.#closing = { ...closing, since: now, until: Math.min(until, latest) };
    return this.#closing;
  }

  #close(reason: LimitReason, told: number | undefined, now: number): void {
    const guessed = told === undefined || told <= now;
    const current = this.#closingAt(now);
    // A closed one stays so against a guess and against what ends earlier, unless it is a guess itself.
    if (current && current.until > now) {
      const corrected = current.guessed && current.reason === reason;
      if (guessed || (told <= current.until && !corrected)) return;
    }
    this.#closing = {
      reason,
      since: now,
      until: guessed ? now + this.#guess(reason) : Math.min(told, now + longestClosed),
      guessed,
    };
  }

  #guess(reason: LimitReason): number {
    const [first, longest] = guesses[reason];
    const guess = Math.min(longest, first * 2 ** this.#guesses);
    this.#guesses += 1;
    return guess;
  }
}

/** True if nothing of this account is answered until the limit's reset. */
export function closesAccount({ status, type, usingOverage }: UsageLimit): boolean {
  return status === 'rejected' && !usingOverage && (type === undefined || wholeAccount.has(type));
}

/** What a caller and an operator should know while prompts are still answered. */
export function warningsOfLimit(limit: UsageLimit, now: number): string[] {
  const { status, type = 'current', utilization, resetsAt } = limit;
  if (status !== 'allowed_warning' || (resetsAt !== undefined && resetsAt <= now)) return [];
  const used = utilization === undefined ? 'nearly all' : `${Math.round(utilization * 100)} %`;
  const until = resetsAt === undefined ? '' : `; it resets at ${new Date(resetsAt).toISOString()}`;
  return [`${used} of the account's ${type.replaceAll('_', ' ')} usage limit is used${until}`];
}

function timeOf(error: BerthError, now: number): number | undefined {
  const { resets_at, retry_after } = error.details;
  const reset = typeof resets_at === 'string' ? Date.parse(resets_at) : Number.NaN;
  if (Number.isFinite(reset)) return reset;
  return typeof retry_after === 'number' ? now + retry_after * 1_000 : undefined;
}
