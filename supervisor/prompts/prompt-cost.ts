/**
 * What one prompt has used, over all its attempts.
 * Invariants: each turn is counted once, also a turn that was lost or refused; the answer and the session's
 * record have the sum.
 */
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { TurnResult, Usage } from '../claude/turn-result.ts';
import type { Overrides } from '../profiles/overrides.ts';
import { addUsage, noUsage } from '../sessions/session-record.ts';
import type { SessionStore } from '../sessions/session-store.ts';
import type { Rates } from './cost-estimate.ts';
import type { TurnLost } from './lost-turn.ts';
import type { PromptMeters } from './meters.ts';
import type { Prompt } from './prompt.ts';
import type { TurnEnd } from './turn.ts';

export interface PromptCostOptions {
  rates: Rates;
  store: Pick<SessionStore, 'spend'>;
  meters: PromptMeters;
  log: Log;
}

interface Spent {
  usage: Usage;
  /** US dollars. */
  costUsd: number;
  /** Answers of the model. */
  numTurns: number;
}

const nothing: Spent = { usage: noUsage, costUsd: 0, numTurns: 0 };

/** US dollars. The CLI ends with the first answer that exceeds its budget. */
const leastBudget = 0.000_001;

export const costUnseen = 'the CLI reported tokens and no cost: the cost is estimated';

export class PromptCost {
  /** The model that the CLI has reported; empty before that. */
  model = '';
  readonly #options: PromptCostOptions;
  readonly #prompt: Prompt;
  /** Used by the turns that have not led to the answer. */
  #before: Spent = nothing;

  constructor(options: PromptCostOptions, prompt: Prompt) {
    this.#options = options;
    this.#prompt = prompt;
  }

  /** Counts a turn that has ended. Returns its end, with an estimated cost if the CLI reports none. */
  ended(reported: TurnEnd): TurnEnd {
    const { rates, meters, log } = this.#options;
    const end = { ...reported, result: rates.priced(this.model, reported.result) };
    const { costSeen, sessionId, costUsd } = end.result;
    if (costSeen) rates.learn(this.model, end.result);
    else log.error('cost_unseen', costUnseen, { session_id: sessionId, cost_usd: costUsd });
    meters.spent(this.#prompt, end.result);
    return end;
  }

  /** Counts a turn that the API has ended because it refused the login. */
  refused({ result }: TurnEnd): void {
    // The CLI counts its own message about the failure as an answer.
    this.#before = sum(this.#before, { ...result, numTurns: Math.max(0, result.numTurns - 1) });
    this.#options.meters.spent(this.#prompt, result);
  }

  /** Counts a turn whose worker was lost. */
  lost({ calls: { usage, count }, result }: TurnLost): void {
    const costUsd = this.#options.rates.costOf(this.model, usage) ?? 0;
    const spent: Spent = result ?? { usage, costUsd, numTurns: count };
    this.#before = sum(this.#before, spent);
    this.#options.meters.spent(this.#prompt, spent);
  }

  /** The end of the last turn, with the sums of all turns. */
  whole(end: TurnEnd): TurnEnd {
    return { ...end, result: { ...end.result, ...sum(this.#before, end.result) } };
  }

  /** The error that ended the prompt, with what the turns before have used. */
  inError(error: BerthError): BerthError {
    const { usage, costUsd, numTurns } = this.#before;
    if (numTurns === 0 || error.details.usage !== undefined) return error;
    return new BerthError(error.code, error.message, {
      cause: error.cause,
      details: { ...error.details, usage, cost_usd: costUsd, num_turns: numTurns },
    });
  }

  /** Adds what the turns before the last one have used to the record of the session. */
  record(sessionId: string): void {
    const { usage, costUsd } = this.#before;
    if (this.#before !== nothing) this.#options.store.spend(sessionId, costUsd, usage);
  }

  /** The prompt with what is left of its turns and its budget. */
  left(): Prompt {
    const { overrides, profile } = this.#prompt;
    const { costUsd, numTurns } = this.#before;
    const { maxTurns = profile.limits.maxTurns } = overrides;
    const { maxBudgetUsd = profile.limits.maxBudgetUsd } = overrides;
    const left: Overrides = {
      ...overrides,
      ...(maxTurns === undefined ? {} : { maxTurns: Math.max(1, maxTurns - numTurns) }),
      ...(maxBudgetUsd === undefined
        ? {}
        : { maxBudgetUsd: Math.max(leastBudget, maxBudgetUsd - costUsd) }),
    };
    return { ...this.#prompt, overrides: left };
  }
}

function sum(one: Spent, other: Spent | TurnResult): Spent {
  return {
    usage: addUsage(one.usage, other.usage),
    costUsd: one.costUsd + other.costUsd,
    numTurns: one.numTurns + other.numTurns,
  };
}
