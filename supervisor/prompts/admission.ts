/**
 * Decides whether a prompt may run: by the pause, the caller's token, the login, the budgets, the owner's share of the
 * account, and the number of prompts that the token has started.
 * Invariant: from the moment that the server is paused, a token is revoked or a login is lost, no prompt that
 * needs it is accepted, and `review` interrupts those that are under way.
 */
import { BerthError } from '../../shared/errors.ts';
import type { SharedRate, TakeBack } from '../spending/shared-rate.ts';
import type { BudgetLimits, SpendingLedger } from '../spending/spending.ts';
import type { LivePrompts } from './live-prompts.ts';
import type { Pause } from './pause.ts';
import type { Prompt } from './prompt.ts';

export interface AdmissionOptions {
  live: LivePrompts;
  pause: Pause;
  ledger: SpendingLedger;
  /** The budgets that a prompt counts for, besides the budget of its token. */
  budgetsOf: (prompt: Prompt) => { profile: string; limits: BudgetLimits };
  /** The error for a prompt that would use the part of the account which is kept for its owner. */
  quotaRefusal: (prompt: Prompt) => BerthError | undefined;
  rate: Pick<SharedRate, 'start'>;
  /** The error for a prompt whose login is lost; undefined while the login can be used. */
  lostLogin: (prompt: Prompt) => BerthError | undefined;
  /** Whether the token of that id is still valid. */
  knowsToken: (id: string) => boolean;
}

export class Admission {
  readonly #options: AdmissionOptions;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /**
   * Counts the start of a prompt that may run. Call it after all other checks.
   * @returns takes the start back, of a prompt that was not sent
   * @throws BerthError `paused`, `token_revoked`, `login_required`, `daily_budget_exceeded`, `quota_reserved`,
   *   `prompts_exceeded` if the prompt may not run
   */
  async check(prompt: Prompt): Promise<TakeBack> {
    this.checkState(prompt);
    const { promptsPerHour } = prompt.profile.limits;
    const { token, profile } = prompt;
    const takeBack = await this.#options.rate.start(token, profile.name, promptsPerHour);
    try {
      // The count may have been that of a shared store: the server may be paused since.
      this.checkState(prompt);
    } catch (error) {
      takeBack();
      throw error;
    }
    return takeBack;
  }

  /** As `check`, and counts nothing. @throws BerthError as `check`, without `prompts_exceeded` */
  checkState(prompt: Prompt): void {
    const { ledger, lostLogin, budgetsOf } = this.#options;
    const refusal = this.#refusalOf(prompt) ?? lostLogin(prompt);
    if (refusal) throw refusal;
    const { profile, limits } = budgetsOf(prompt);
    ledger.check(prompt.token, profile, limits);
    this.checkQuota(prompt);
  }

  /**
   * Call it again before a prompt is sent that has waited: others may have used the account meanwhile.
   * @throws BerthError `quota_reserved`
   */
  checkQuota(prompt: Prompt): void {
    const refusal = this.#options.quotaRefusal(prompt);
    if (refusal) throw refusal;
  }

  /**
   * Interrupts each prompt that may not run any more. Call it when the server was paused, a token was
   * revoked or a login was lost. A lost login interrupts only prompts that wait: a turn that has begun may
   * still come to its end.
   */
  review(): void {
    this.#options.live.interrupt(({ prompt, begun }) => {
      return this.#refusalOf(prompt) ?? (begun ? undefined : this.#options.lostLogin(prompt));
    });
  }

  #refusalOf({ token, tokenId }: Prompt): BerthError | undefined {
    if (tokenId === undefined || this.#options.knowsToken(tokenId)) {
      return this.#options.pause.refusal;
    }
    return new BerthError(
      'token_revoked',
      `cannot answer the prompt: the token of ${token} was revoked; use a token that BERTH_API_TOKENS_FILE still has`,
    );
  }
}
