/**
 * What one prompt has used, over all its attempts.
 * Invariants: each turn is counted once, also a turn that was lost or refused; the answer and the session's
 * record have the sum.
 * The usage of a lost turn is estimated: `CallsMade` sums the tokens of its calls, and `Rates` has the price of
 * a token, learned from the costs that the CLI reports. The reported cost includes calls of other models, which
 * the usage leaves out, and the relative prices of the kinds of tokens differ a little between models.
 */
import { LRUCache } from 'lru-cache';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { TurnResult, Usage } from '../claude/turn-result.ts';
import type { Overrides } from '../profiles/overrides.ts';
import { addUsage, noUsage } from '../sessions/session-record.ts';
import type { SessionStore } from '../sessions/session-store.ts';
import type { TurnMeters } from './meters.ts';
import type { Prompt } from './prompt.ts';
import type { TurnEnd } from './turn.ts';

export interface PromptCostOptions {
  rates: Rates;
  store: Pick<SessionStore, 'spend'>;
  meters: TurnMeters;
  log: Log;
}

/** The usage of a turn without an answer; `result` if the CLI has reported one all the same. */
export interface LostUsage {
  calls: Pick<CallsMade, 'usage' | 'count'>;
  result: TurnResult | undefined;
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

export const costUnseen = 'the CLI reported no cost of a turn: the cost is estimated';

export class PromptCost {
  /** The model that the CLI has reported; empty before that. */
  model = '';
  readonly #options: PromptCostOptions;
  readonly #prompt: Prompt;
  /** Used by the turns that have not led to the answer. */
  #before: Spent = nothing;
  /** The session whose record has the usage of these turns; undefined before `record`. */
  #recorded: string | undefined;

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
    else {
      log.error('cost_unseen', costUnseen, { session_id: sessionId, cost_usd: costUsd });
      meters.costUnseen(this.#prompt.profile.name);
    }
    meters.spent(this.#prompt, end.result);
    return end;
  }

  /** Counts a turn that the API has ended because it refused the login. */
  refused({ result }: TurnEnd): void {
    // The CLI counts its own message about the failure as an answer.
    this.#before = sum(this.#before, { ...result, numTurns: Math.max(0, result.numTurns - 1) });
    this.#options.meters.spent(this.#prompt, result);
  }

  /** Counts a turn that was lost, or that has ended without an answer; also after `record`. */
  lost({ calls: { usage, count }, result }: LostUsage): void {
    const { rates, meters, store } = this.#options;
    const costUsd = rates.costOf(this.model, usage) ?? 0;
    const reported = result && rates.priced(this.model, result);
    const spent: Spent = reported ?? { usage, costUsd, numTurns: count };
    this.#before = sum(this.#before, spent);
    meters.spent(this.#prompt, spent);
    if (this.#recorded !== undefined) store.spend(this.#recorded, spent.costUsd, spent.usage);
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

  /**
   * Adds what the turns before the last one have used to the record of the session. Call it once, at the end of the
   * prompt: what is counted later is added at once.
   */
  record(sessionId: string): void {
    this.#recorded = sessionId;
    const { usage, costUsd } = this.#before;
    if (this.#before !== nothing) this.#options.store.spend(sessionId, costUsd, usage);
  }

  /** The prompt with the rest of its turns and its budget. */
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

/** Prices relative to a token of input, as in most price lists. */
const weights: Readonly<Record<keyof Usage, number>> = {
  input_tokens: 1,
  output_tokens: 5,
  cache_creation_input_tokens: 1.25,
  cache_read_input_tokens: 0.1,
};

const kinds = Object.keys(weights) as (keyof Usage)[];

/** US dollars for a token of input of an unknown model: rather too much than too little. */
const unknownRate = 15 / 1_000_000;

const mostModels = 100;

export class Rates {
  /** US dollars for a token of input, by model. */
  readonly #rates = new LRUCache<string, number>({ max: mostModels });

  learn(model: string, { usage, costUsd }: Pick<TurnResult, 'usage' | 'costUsd'>): void {
    const weight = weightOf(usage);
    if (!(weight > 0 && costUsd > 0)) return;
    this.#rates.set(model, costUsd / weight);
  }

  /** The result with an estimated cost, if the CLI reports none: budgets must count it. */
  priced<T extends Pick<TurnResult, 'usage' | 'costUsd' | 'costSeen'>>(
    model: string,
    result: T,
  ): T {
    if (result.costSeen) return result;
    const { usage } = result;
    return { ...result, costUsd: this.costOf(model, usage) ?? unknownRate * weightOf(usage) };
  }

  /** US dollars; undefined if no turn of that model has ended yet. */
  costOf(model: string, usage: Usage): number | undefined {
    const rate = this.#rates.get(model);
    return rate === undefined ? undefined : rate * weightOf(usage);
  }
}

/** The calls of the model in one turn, as the CLI reports them while the turn runs; not those of subagents. */
export class CallsMade {
  readonly #usages: Usage[] = [];

  /** @param begins whether this is the first report of a call; later reports have the sums of the call */
  note(usage: Usage, begins: boolean): void {
    const known = begins ? undefined : this.#usages.pop();
    this.#usages.push(known ? larger(known, usage) : usage);
  }

  get count(): number {
    return this.#usages.length;
  }

  get usage(): Usage {
    return this.#usages.reduce(addUsage, noUsage);
  }
}

/** The last report of a call has its whole output, and may omit the other figures. */
function larger(one: Usage, other: Usage): Usage {
  const entries = kinds.map((kind) => [kind, Math.max(one[kind], other[kind])]);
  return Object.fromEntries(entries) as Usage;
}

function weightOf(usage: Usage): number {
  return kinds.reduce((sum, kind) => sum + usage[kind] * weights[kind], 0);
}
