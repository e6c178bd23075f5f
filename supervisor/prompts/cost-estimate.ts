/**
 * What a model's tokens cost, learned from what the CLI says its turns cost: for turns of which only
 * the usage is known, because their process was lost before it said so. An estimate: calls on the side,
 * of other models, are in the cost and not in the usage, and what kinds of tokens cost in relation to
 * each other differs a little between models.
 */
import type { TurnResult, Usage } from '../claude/turn-result.ts';

/** In relation to a token of input, as list prices usually are. */
const weights: Readonly<Record<keyof Usage, number>> = {
  input_tokens: 1,
  output_tokens: 5,
  cache_creation_input_tokens: 1.25,
  cache_read_input_tokens: 0.1,
};

/** US dollars for a token of input where nothing is known: rather too much than too little. */
const unknownRate = 15 / 1_000_000;

const mostModels = 100;

export class Rates {
  /** US dollars for a token of input. */
  readonly #rates = new Map<string, number>();

  learn(model: string, { usage, costUsd }: Pick<TurnResult, 'usage' | 'costUsd'>): void {
    const weight = weightOf(usage);
    if (!(weight > 0 && costUsd > 0)) return;
    this.#rates.delete(model);
    this.#rates.set(model, costUsd / weight);
    for (const oldest of this.#rates.keys()) {
      if (this.#rates.size <= mostModels) break;
      this.#rates.delete(oldest);
    }
  }

  /** The result with an estimated cost, if the CLI reports none: no budget goes off by that. */
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

function weightOf(usage: Usage): number {
  const kinds = Object.keys(weights) as (keyof Usage)[];
  return kinds.reduce((sum, kind) => sum + usage[kind] * weights[kind], 0);
}
