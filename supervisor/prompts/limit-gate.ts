/**
 * The gate for an account's limits: while a limit is reached, no prompt of that login is sent. A prompt fails at once with
 * the time of the next try, or waits until that time. The waiting prompts wake at different moments; when the login is
 * replaced, they wake at once.
 * Invariants: a gate with a known time is closed until then. A gate without one is closed for a bounded guess, then lets
 * one prompt at a time try: of those that wait for a worker, the first that has one. Nothing is stored on disk. What is
 * reported late about the account before, after a login was replaced, changes nothing for the new account.
 */
import { BerthError } from '../../shared/errors.ts';
import { sleep } from '../../shared/waiting.ts';
import type { UsageLimit } from '../claude/usage-limit.ts';
import { Account, type AccountState, type LimitReason } from './limit-account.ts';

/** The permission to send one prompt; call `done` with its outcome, or `withdraw`. */
export interface Pass {
  /**
   * Call it when the prompt has its worker, right before the prompt is sent: from now on it may be the probe.
   * @throws BerthError `usage_limit` or `rate_limited` if the gate has closed meanwhile, or another prompt tries
   */
  check(): void;
  /** Call it when the API has answered a call of the turn: others need not wait for the end of the turn. */
  answered(): void;
  /** @param error undefined if the prompt was answered */
  done(error: BerthError | undefined): void;
  /** Gives the pass back unused. */
  withdraw(): void;
  /** As `replacementSignal` returned it when the prompt was about to be sent. */
  readonly replaced: AbortSignal;
}

export interface Patience {
  /** Wait for the gate instead of failing, if it opens before `deadline`. */
  wait: boolean;
  /** Milliseconds since 1970. */
  deadline: number;
}

export interface PassOptions extends Patience {
  signal: AbortSignal;
  /** Called each time that the prompt begins to wait. */
  onWait?: (state: AccountState) => void;
}

export interface LimitGateOptions {
  /** Called when the gate of a login closes and when it opens. */
  onChange?: (state: AccountState) => void;
  /** Called with everything that the API reports about a login. */
  onHeard?: (login: string, limit: UsageLimit) => void;
  /** Milliseconds since 1970. */
  now?: () => number;
  /** 0 to 1. */
  random?: () => number;
  sleep?: (milliseconds: number, signal: AbortSignal) => Promise<unknown>;
}

/** The longest and the shortest period over which the waiting prompts wake, in milliseconds. */
const widestJitter = 30_000;
const narrowestJitter = 1_000;

export class LimitGate {
  readonly #accounts = new Map<string, Account>();
  /** The state of each account that `onChange` has reported last. */
  readonly #announced = new Map<Account, AccountState>();
  /** For each login, aborted when its account of now is replaced. */
  readonly #replacements = new Map<string, AbortController>();
  readonly #onChange: (state: AccountState) => void;
  readonly #onHeard: (login: string, limit: UsageLimit) => void;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #sleep: (milliseconds: number, signal: AbortSignal) => Promise<unknown>;

  constructor(options: LimitGateOptions = {}) {
    this.#onChange = options.onChange ?? (() => {});
    this.#onHeard = options.onHeard ?? (() => {});
    this.#now = options.now ?? Date.now;
    this.#random = options.random ?? Math.random;
    this.#sleep = options.sleep ?? sleep;
  }

  /** The state of each login. */
  get states(): AccountState[] {
    const now = this.#now();
    return [...this.#accounts.values()].map((account) => account.stateAt(now));
  }

  /** The error while no prompt may be sent with that login; undefined while it may. */
  refusalOf(login: string): BerthError | undefined {
    const account = this.#accounts.get(login);
    const now = this.#now();
    const state = account?.stateAt(now);
    return account && state?.closed ? closed(state, account.opensAt(now), now) : undefined;
  }

  /** The error with which `pass` would reject now; undefined for a prompt that would pass, or wait. */
  passRefusalOf(login: string, { wait, deadline }: Patience): BerthError | undefined {
    const account = this.#accounts.get(login);
    const now = this.#now();
    if (!account || account.admits(now)) return undefined;
    const opens = account.opensAt(now);
    return wait && opens < deadline ? undefined : closed(account.stateAt(now), opens, now);
  }

  /** The warnings for answers of that login. */
  warningsOf(login: string): string[] {
    return this.#accounts.get(login)?.stateAt(this.#now()).warnings ?? [];
  }

  /**
   * Waits for the permission to send a prompt, as soon as it has a worker.
   * @param login prompts with the same key share a gate
   * @throws BerthError `usage_limit` or `rate_limited` if the gate is closed and the prompt does not wait; the
   *   signal's reason
   */
  async pass(login: string, { wait, deadline, signal, onWait }: PassOptions): Promise<Pass> {
    const account = this.#accountOf(login);
    for (;;) {
      signal.throwIfAborted();
      const now = this.#now();
      account.expire(now);
      this.#announce(account, now);
      if (account.admits(now)) return this.#passOf(login, account);
      const opens = account.opensAt(now);
      if (!wait || opens >= deadline) throw closed(account.stateAt(now), opens, now);
      onWait?.(account.stateAt(now));
      const pause = opens - now;
      const spread = Math.min(widestJitter, Math.max(narrowestJitter, pause / 10));
      const room = Math.max(0, deadline - now - pause - 1);
      const replaced = this.replacementSignal(login);
      await this.#wait(pause + this.#random() * Math.min(spread, room), signal, replaced);
    }
  }

  /**
   * A signal that is aborted when the login is replaced. Take the signal before something is sent with the login, to
   * recognise a report about the account before. A time would not do: the clock may be set back.
   */
  replacementSignal(login: string): AbortSignal {
    const known = this.#replacements.get(login) ?? new AbortController();
    this.#replacements.set(login, known);
    return known.signal;
  }

  /**
   * Notes what the API reports about a login, with whichever prompt.
   * @param replaced of the account that the report is about; absent: of the account of now
   * @returns false if the report is about an account that was replaced: nothing is noted
   */
  heard(login: string, limit: UsageLimit, replaced?: AbortSignal): boolean {
    if (replaced?.aborted) return false;
    const account = this.#accountOf(login);
    account.heard(limit, this.#now());
    this.#onHeard(login, limit);
    this.#announce(account, this.#now());
    return true;
  }

  /** Opens the gate of a login that was replaced: the new login has its own limits. */
  forget(login: string): void {
    const replacement = this.#replacements.get(login);
    this.#replacements.delete(login);
    const account = this.#accounts.get(login);
    account?.reset();
    if (account) this.#announce(account, this.#now());
    // The gate is open by now: the prompts that wait continue. What is reported late about the account before must not
    // close the gate again.
    replacement?.abort();
  }

  #passOf(login: string, account: Account): Pass {
    let replaced = this.replacementSignal(login);
    let begun = this.#now();
    let over = false;
    let isProbing = false;
    return {
      check: () => {
        if (over || (isProbing && !replaced.aborted)) return;
        replaced = this.replacementSignal(login);
        const now = this.#now();
        const entered = account.enter(now);
        this.#announce(account, now);
        if (entered === undefined) throw closed(account.stateAt(now), account.opensAt(now), now);
        begun = now;
        isProbing = entered;
      },
      answered: () => {
        if (over || !isProbing || replaced.aborted) return;
        isProbing = false;
        account.leave(begun, true, undefined, this.#now());
        this.#announce(account, this.#now());
      },
      done: (error) => {
        if (over) return;
        over = true;
        if (replaced.aborted) return;
        account.leave(begun, isProbing, error, this.#now());
        this.#announce(account, this.#now());
      },
      withdraw: () => {
        if (over) return;
        over = true;
        if (!replaced.aborted) account.withdraw(isProbing);
      },
      get replaced() {
        return replaced;
      },
    };
  }

  #announce(account: Account, now: number): void {
    const state = account.stateAt(now);
    const announced = this.#announced.get(account);
    if ((announced?.closed ?? false) === state.closed && announced?.resets_at === state.resets_at)
      return;
    this.#announced.set(account, state);
    if (announced?.closed || state.closed) this.#onChange(state);
  }

  #accountOf(login: string): Account {
    const known = this.#accounts.get(login) ?? new Account(login);
    this.#accounts.set(login, known);
    return known;
  }

  /** Ends early when the login is replaced: the new account may be open. */
  async #wait(milliseconds: number, signal: AbortSignal, replaced: AbortSignal): Promise<void> {
    try {
      await this.#sleep(milliseconds, AbortSignal.any([signal, replaced]));
    } catch (error) {
      signal.throwIfAborted();
      if (!replaced.aborted) throw error;
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
  const when = known ? `it ends at ${state.resets_at}` : 'its end is unknown';
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
