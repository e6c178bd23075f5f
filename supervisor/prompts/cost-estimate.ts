/**
 * Estimates what a turn has used that was lost before the CLI reported it: `CallsMade` sums the tokens of its
 * calls, `Rates` has the price of a token. The price is learned from the costs that the CLI reports.
 * It is an estimate: the reported cost includes calls of other models, which the usage leaves out, and the
 * relative prices of the kinds of tokens differ a little between models.
 */
import { LRUCache } from 'lru-cache';
import type { TurnResult, Usage } from '../claude/turn-result.ts';
import { addUsage, noUsage } from '../sessions/session-record.ts';

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

/** The last report of a call has its whole output, and may leave the other figures out. */
function larger(one: Usage, other: Usage): Usage {
  const entries = kinds.map((kind) => [kind, Math.max(one[kind], other[kind])]);
  return Object.fromEntries(entries) as Usage;
}

function weightOf(usage: Usage): number {
  return kinds.reduce((sum, kind) => sum + usage[kind] * weights[kind], 0);
}
