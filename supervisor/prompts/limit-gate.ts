/**
 * The gate for an account's limits: while one is hit no prompt of that login is sent. Prompts fail at
 * once with the time at which to try again, or wait for it and wake at different moments.
 * Always holds: a gate that was told a time is closed until then; one that was told none closes for a
 * bounded guess and then lets one prompt at a time try; nothing is kept on disk.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { BerthError } from '../../shared/errors.ts';
import type { UsageLimit } from '../claude/usage-limit.ts';
import { Account, type AccountState, type LimitReason } from './limit-account.ts';

/** Leave to send one prompt; `done` must be called with how it ended. */
export interface Pass {
  /**
   * To be called again when the prompt is sent, if time has passed since.
   * @throws BerthError `usage_limit` or `rate_limited` if the gate has closed meanwhile
   */
  check(): void;
  /** @param error undefined if the prompt was answered */
  done(error: BerthError | undefined): void;
  /** Gives it back unused. */
  withdraw(): void;
}

export interface PassOptions {
  /** Wait for the gate instead of failing, if it opens before `deadline`. */
  wait: boolean;
  /** Milliseconds since 1970. */
  deadline: number;
  signal: AbortSignal;
  /** Told each time that it begins to wait. */
  onWait?: (state: AccountState) => void;
}

export interface LimitGateOptions {
  /** Told when a login's gate closes and when it opens. */
  onChange?: (state: AccountState) => void;
  /** Milliseconds since 1970. */
  now?: () => number;
  /** 0 to 1. */
  random?: () => number;
  sleep?: (milliseconds: number, signal: AbortSignal) => Promise<unknown>;
}

/** Milliseconds within which the waiting wake, at most; and at least. */
const widestJitter = 30_000;
const narrowestJitter = 1_000;

export class LimitGate {
  readonly #accounts = new Map<string, Account>();
  /** What was last told of each. */
  readonly #announced = new Map<Account, AccountState>();
  readonly #onChange: (state: AccountState) => void;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #sleep: (milliseconds: number, signal: AbortSignal) => Promise<unknown>;

  constructor(options: LimitGateOptions = {}) {
    this.#onChange = options.onChange ?? (() => {});
    this.#now = options.now ?? Date.now;
    this.#random = options.random ?? Math.random;
    this.#sleep =
      options.sleep ?? ((milliseconds, signal) => delay(milliseconds, undefined, { signal }));
  }

  /** What is known of each login. */
  get states(): AccountState[] {
    const now = this.#now();
    return [...this.#accounts.values()].map((account) => account.stateAt(now));
  }

  /** Why nothing may be sent with that login now; undefined while it may. */
  refusalOf(login: string): BerthError | undefined {
    const account = this.#accounts.get(login);
    const now = this.#now();
    const state = account?.stateAt(now);
    return account && state?.closed ? closed(state, account.opensAt(now), now) : undefined;
  }

  /** What an answer of that login should warn of. */
  warningsOf(login: string): string[] {
    return this.#accounts.get(login)?.stateAt(this.#now()).warnings ?? [];
  }

  /**
   * Leave to send a prompt.
   * @param login whose limits count: prompts with the same key share a gate
   * @throws BerthError `usage_limit` or `rate_limited` if the gate is closed and there is no waiting
   *   for it; the signal's reason
   */
  async pass(login: string, { wait, deadline, signal, onWait }: PassOptions): Promise<Pass> {
    const account = this.#accountOf(login);
    for (;;) {
      signal.throwIfAborted();
      const now = this.#now();
      const probing = account.enter(now);
      this.#announce(account, now);
      if (probing !== undefined) return this.#passOf(account, probing);
      const opens = account.opensAt(now);
      if (!wait || opens >= deadline) throw closed(account.stateAt(now), opens, now);
      onWait?.(account.stateAt(now));
      const pause = opens - now;
      const spread = Math.min(widestJitter, Math.max(narrowestJitter, pause / 10));
      const room = Math.max(0, deadline - now - pause - 1);
      await this.#wait(pause + this.#random() * Math.min(spread, room), signal);
    }
  }

  /** Takes note of what the API says of a login, whichever prompt it came with. */
  heard(login: string, limit: UsageLimit): void {
    const account = this.#accountOf(login);
    account.heard(limit, this.#now());
    this.#announce(account, this.#now());
  }

  /** Opens the gate of a login that has been replaced: the new one has limits of its own. */
  forget(login: string): void {
    const account = this.#accounts.get(login);
    if (!account) return;
    account.reset();
    this.#announce(account, this.#now());
  }

  #passOf(account: Account, probing: boolean): Pass {
    const begun = this.#now();
    let over = false;
    return {
      check: () => {
        const now = this.#now();
        const state = account.stateAt(now);
        if (state.closed && !probing) throw closed(state, account.opensAt(now), now);
      },
      done: (error) => {
        if (over) return;
        over = true;
        account.leave(begun, probing, error, this.#now());
        this.#announce(account, this.#now());
      },
      withdraw: () => {
        if (over) return;
        over = true;
        account.withdraw(probing);
      },
    };
  }

  #announce(account: Account, now: number): void {
    const state = account.stateAt(now);
    const told = this.#announced.get(account);
    if ((told?.closed ?? false) === state.closed && told?.resets_at === state.resets_at) return;
    this.#announced.set(account, state);
    if (told?.closed || state.closed) this.#onChange(state);
  }

  #accountOf(login: string): Account {
    const known = this.#accounts.get(login) ?? new Account(login);
    this.#accounts.set(login, known);
    return known;
  }

  async #wait(milliseconds: number, signal: AbortSignal): Promise<void> {
    try {
      await this.#sleep(milliseconds, signal);
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  }
}

const causes: Record<LimitReason, string> = {
  usage_limit: "the account's usage limit is reached",
  rate_limited: 'the model API limits the rate of requests',
};

function closed(state: AccountState, opens: number, now: number): BerthError {
  const reason = state.reason ?? 'usage_limit';
  const known = state.resets_at !== null && !state.guessed;
  const when = known ? `it ends at ${state.resets_at}` : 'when it ends is not known';
  return new BerthError(
    reason,
    `cannot send the prompt: ${causes[reason]}, and ${when}; try again then, or wait with "on_limit": "wait"`,
    {
      details: {
        retry_after: Math.max(1, Math.ceil((opens - now) / 1_000)),
        ...(known ? { resets_at: state.resets_at } : {}),
      },
    },
  );
}
