/**
 * Before a prompt is taken, and while it runs: may it? Asks the pause, the caller's token and the
 * budgets. Always holds: from the moment that the server is paused or a token is revoked, no prompt
 * of it is taken, and those that run or wait are interrupted.
 */
import { BerthError } from '../../shared/errors.ts';
import type { BudgetLimits, SpendingLedger } from '../spending/spending.ts';
import type { Answer } from './answer.ts';
import { follow } from './link-abort.ts';
import type { Pause } from './pause.ts';
import type { Prompt } from './prompt.ts';
import type { TurnEvent } from './turn.ts';

/** Runs a prompt to its answer; when `caller` aborts it is interrupted (sessions.ts). */
export interface RunsPrompts {
  run(prompt: Prompt, caller: AbortSignal, tell: (event: TurnEvent) => void): Promise<Answer>;
}

export interface AdmissionOptions {
  sessions: RunsPrompts;
  pause: Pause;
  ledger: SpendingLedger;
  /** Whose budgets a prompt counts for, besides its token's. */
  budgetsOf: (prompt: Prompt) => { profile: string; limits: BudgetLimits };
  /** Why the login that a prompt needs cannot be used, if it is lost. */
  lostLogin?: (prompt: Prompt) => BerthError | undefined;
  /** Whether the token of that id still lets its bearer in. */
  knowsToken: (id: string) => boolean;
}

export class Admission implements RunsPrompts {
  readonly #options: AdmissionOptions;
  readonly #taken = new Map<AbortController, Prompt>();
  /** Those of the taken whose turn has begun. */
  readonly #begun = new Set<AbortController>();

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /**
   * @throws BerthError `paused`, `token_revoked`, `login_required`, `daily_budget_exceeded`, or what the prompt itself ends
   *   with
   */
  async run(
    prompt: Prompt,
    caller: AbortSignal,
    tell: (event: TurnEvent) => void,
  ): Promise<Answer> {
    const refusal = this.#refusalOf(prompt) ?? this.#options.lostLogin?.(prompt);
    if (refusal) throw refusal;
    const { profile, limits } = this.#options.budgetsOf(prompt);
    this.#options.ledger.check(prompt.token, profile, limits);
    const ending = new AbortController();
    const unfollow = follow(caller, ending);
    this.#taken.set(ending, prompt);
    try {
      return await this.#options.sessions.run(prompt, ending.signal, (event) => {
        if (event.event === 'session') this.#begun.add(ending);
        tell(event);
      });
    } finally {
      unfollow();
      this.#begun.delete(ending);
      this.#taken.delete(ending);
    }
  }

  /**
   * Interrupts what may not run any more: call it when the server was paused, tokens revoked or a login
   * lost. For a lost login those alone that still wait: a turn that runs may come to its end.
   */
  review(): void {
    for (const [ending, prompt] of this.#taken) {
      const waits = !this.#begun.has(ending);
      const lost = waits ? this.#options.lostLogin?.(prompt) : undefined;
      const refusal = this.#refusalOf(prompt) ?? lost;
      if (refusal) ending.abort(refusal);
    }
  }

  #refusalOf({ token, tokenId }: Prompt): BerthError | undefined {
    if (tokenId === undefined || this.#options.knowsToken(tokenId)) {
      return this.#options.pause.refusal;
    }
    return new BerthError(
      'token_revoked',
      `cannot answer the prompt: the token of ${token} that it came with was revoked; use one that BERTH_API_TOKENS_FILE still has`,
    );
  }
}
