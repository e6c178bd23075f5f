/**
 * Decides whether a prompt may run: by the pause, the caller's token, the login, the budgets, the owner's share of the
 * account, the number of prompts that the token has started, ignored settings, a full disk, and a limit of the account.
 * Invariant: from the moment that the server is paused, a token is revoked or a login is lost, no prompt that
 * needs it is accepted, and `review` interrupts those that are under way.
 */
import { asBerthError, BerthError } from '../../shared/errors.ts';
import type { SharedRate, TakeBack } from '../spending/shared-rate.ts';
import type { BudgetLimits, SpendingLedger } from '../spending/spending.ts';
import type { LimitGate } from './limit-gate.ts';
import type { LivePrompts } from './live-prompts.ts';
import type { Logins } from './login-use.ts';
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
  /** `assertInForce` throws `configuration_invalid` if the CLI ignores settings that protect. */
  settings: { assertInForce: () => void };
  /** `assertRoom` rejects with `disk_full` if no session may begin, or none may continue. */
  disk: { assertRoom: (begins: boolean) => Promise<void> };
  gate: Pick<LimitGate, 'passRefusalOf'>;
  keyOf: Logins['keyOf'];
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
   * What refuses a prompt before it is counted as started. The same may still happen later, while the prompt waits.
   * @returns `configuration_invalid`, `disk_full`, `usage_limit` or `rate_limited`; undefined if the prompt may start
   */
  async startRefusalOf(prompt: Prompt): Promise<BerthError | undefined> {
    const { settings, disk, gate, keyOf } = this.#options;
    const { record, fork, onLimit, timeout } = prompt;
    try {
      settings.assertInForce();
      await disk.assertRoom(record === undefined || fork);
    } catch (error) {
      return asBerthError(error);
    }
    const patience = { wait: onLimit === 'wait', deadline: Date.now() + timeout };
    return gate.passRefusalOf(keyOf(prompt), patience);
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
