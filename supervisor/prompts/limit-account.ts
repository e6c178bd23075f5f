/**
 * The limits of one login, and whether a prompt may be sent. The state is open, closed until a time, or on trial: a
 * guessed time has passed, and one prompt at a time may try. The prompt that tries is the probe. It becomes the
 * probe when it is about to be sent: while it waits for a worker, others may try.
 * Invariants: the account has no clock of its own; an answer opens it only if its prompt was sent after it closed.
 */
import { type Backoff, backoff } from '../../shared/backoff.ts';
import type { BerthError } from '../../shared/errors.ts';
import type { UsageLimit } from '../claude/usage-limit.ts';

export type LimitReason = 'usage_limit' | 'rate_limited';

export interface AccountState {
  login: string;
  closed: boolean;
  /** Why the account is closed or on trial. */
  reason: LimitReason | null;
  /** ISO 8601; when a closed account opens. */
  resets_at: string | null;
  /** Whether that time is a guess. */
  guessed: boolean;
  /** The used share of each window, 0 to 1, as last reported. */
  utilization: Record<string, number>;
  /** When each window ends, ISO 8601, as far as it was reported. */
  window_resets_at: Record<string, string>;
  /** One sentence for each window that is nearly used up. */
  warnings: string[];
}

const minute = 60_000;
/** A reported time is cut to this: the longest window has seven days. */
const longestClosed = 8 * 24 * 60 * minute;
/** How long a limit without a reported time is guessed to last. */
const guesses: Readonly<Record<LimitReason, Backoff>> = {
  usage_limit: { first: minute, longest: 30 * minute },
  rate_limited: { first: 15_000, longest: 2 * minute },
};
/** How long a limit may last whose reported end passed while the answer was on its way. */
const overdue: Backoff = { first: 2_000, longest: 30 * minute };
/** Milliseconds after its reported end in which a limit counts as overdue. */
const justEnded = 5 * minute;
/** Milliseconds that the other prompts wait for the prompt that tries. */
const trialPause = 5_000;
/** Windows of the whole account; others, such as `seven_day_opus`, limit one model only. */
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
  /** How often in a row a guess has closed the account. */
  #guesses = 0;
  #probing = false;
  #limit: UsageLimit | undefined;
  #windows: UsageLimit['windows'] = {};

  constructor(login: string) {
    this.#login = login;
  }

  /** Whether a prompt may be sent now: the account is open, or no prompt tries yet. */
  admits(now: number): boolean {
    const closing = this.#closingAt(now);
    if (!closing) return true;
    if (closing.until > now) return false;
    return !closing.guessed || !this.#probing;
  }

  /** Opens an account whose reported time has passed. */
  expire(now: number): void {
    const closing = this.#closingAt(now);
    if (closing && !closing.guessed && closing.until <= now) this.#closing = undefined;
  }

  /**
   * Call it when a prompt is about to be sent.
   * @returns undefined if the prompt may not be sent, otherwise whether the prompt is the probe
   */
  enter(now: number): boolean | undefined {
    if (!this.admits(now)) return undefined;
    this.expire(now);
    if (!this.#closing) return false;
    this.#probing = true;
    return true;
  }

  /** When the next prompt may be sent, if none may now. */
  opensAt(now: number): number {
    const until = this.#closingAt(now)?.until ?? now;
    return until > now ? until : now + trialPause;
  }

  /** A prompt that was about to be sent was not sent, or has proved nothing. */
  withdraw(probing: boolean): void {
    if (probing) this.#probing = false;
  }

  /** Notes the outcome of a prompt that was sent at `begun`. */
  leave(begun: number, probing: boolean, error: BerthError | undefined, now: number): void {
    if (probing) this.#probing = false;
    if (error?.code === 'usage_limit' || error?.code === 'rate_limited') {
      if (error.details.model_only !== true) this.#close(error.code, timeOf(error, now), now);
      return;
    }
    if (error) return;
    const closing = this.#closingAt(now);
    // An answer to a prompt from before the closing proves nothing, and none can correct a reported time.
    if (closing && (begun < closing.since || closing.until > now)) return;
    this.#closing = undefined;
    this.#guesses = 0;
  }

  heard(limit: UsageLimit, now: number): void {
    this.#limit = limit;
    Object.assign(this.#windows, limit.windows);
    if (closesAccount(limit)) this.#close('usage_limit', limit.resetsAt, now);
  }

  /** The login belongs to another account from now on, of which nothing is known. */
  reset(): void {
    this.#closing = undefined;
    this.#guesses = 0;
    this.#probing = false;
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
          // A time further away is not the end of a window, and may be no valid date.
          resetsAt === undefined || resetsAt > now + longestClosed
            ? []
            : [[name, new Date(resetsAt).toISOString()]],
        ),
      ),
      warnings: this.#limit ? warningsOfLimit(this.#limit, now) : [],
    };
  }

  /** After the clock was set back: a guess takes as long as before, a reported time stays. */
  #closingAt(now: number): Closing | undefined {
    const closing = this.#closing;
    if (!closing || now >= closing.since) return closing;
    const { since, until, guessed } = closing;
    const latest = guessed ? now + (until - since) : now + longestClosed;
    this.#closing = { ...closing, since: now, until: Math.min(until, latest) };
    return this.#closing;
  }

  #close(reason: LimitReason, reportedEnd: number | undefined, now: number): void {
    const guessed = reportedEnd === undefined || reportedEnd <= now;
    const current = this.#closingAt(now);
    // A reported time is replaced neither by a guess nor by an earlier time.
    if (current && current.until > now) {
      const corrected = current.guessed && current.reason === reason;
      if (guessed || (reportedEnd <= current.until && !corrected)) return;
    }
    this.#closing = {
      reason,
      since: now,
      until: guessed
        ? now + this.#guess(reason, reportedEnd, now)
        : Math.min(reportedEnd, now + longestClosed),
      guessed,
    };
  }

  #guess(reason: LimitReason, reportedEnd: number | undefined, now: number): number {
    this.#guesses += 1;
    const isOverdue = reportedEnd !== undefined && reportedEnd > now - justEnded;
    return backoff(this.#guesses, isOverdue ? overdue : guesses[reason]);
  }
}

/** Whether the API answers no prompt of this account until the limit ends. */
export function closesAccount({ status, type, usingOverage }: UsageLimit): boolean {
  return status === 'rejected' && !usingOverage && (type === undefined || wholeAccount.has(type));
}

/** Warnings for callers and operators while prompts are still answered. */
function warningsOfLimit(limit: UsageLimit, now: number): string[] {
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
