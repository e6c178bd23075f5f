/**
 * A turn whose process was lost in the middle of it: how that is told from other failures, what it is
 * for a caller if the turn is not carried on, and what was used by then.
 */
import { asBerthError, BerthError } from '../../shared/errors.ts';
import { UnclearResult } from '../claude/process.ts';
import type { TurnResult, Usage } from '../claude/turn-result.ts';
import type { Worker } from '../pool/worker.ts';
import type { Overrides } from '../profiles/overrides.ts';
import { addUsage, noUsage } from '../sessions/session-record.ts';
import { stalledError } from './outcome.ts';
import type { Prompt } from './prompt.ts';
import { TurnStalled } from './turn.ts';

/** `processes`: what its tools started took nearly all that the container's pids limit allows. */
export const lossReasons = ['memory', 'processes', 'crashed', 'hung'] as const;

export type LossReason = (typeof lossReasons)[number];

/** Not for callers. */
export class TurnLost extends Error {
  readonly worker: Worker;
  readonly promptId: string;
  readonly reason: LossReason;
  /** What it is if the turn is not carried on. */
  readonly error: BerthError;
  /** What it has used, but for the cost. */
  readonly calls: CallsMade;
  /** Of a process that hung and obeyed the interrupt all the same, or that mixed two turns. */
  readonly result: TurnResult | undefined;

  constructor(
    worker: Worker,
    promptId: string,
    calls: CallsMade,
    reason: LossReason,
    thrown: unknown,
  ) {
    const error = thrown instanceof TurnStalled ? stalledError(thrown) : thrown;
    super(asBerthError(error).message, { cause: error });
    this.worker = worker;
    this.promptId = promptId;
    this.calls = calls;
    this.reason = reason;
    this.error = asBerthError(error);
    this.result = resultOf(thrown);
  }
}

function resultOf(thrown: unknown): TurnResult | undefined {
  if (thrown instanceof TurnStalled) return thrown.end?.result;
  return thrown instanceof UnclearResult ? thrown.result : undefined;
}

/** The calls of the model in one attempt, as they are told while it runs; those of subagents are not. */
export class CallsMade {
  readonly #usages: Usage[] = [];

  note(usage: Usage, begins: boolean): void {
    if (begins || this.#usages.length === 0) {
      this.#usages.push(usage);
      return;
    }
    const known = this.#usages.pop() ?? noUsage;
    // The end of a call says its output again, in all, and the rest perhaps not.
    this.#usages.push({
      input_tokens: Math.max(known.input_tokens, usage.input_tokens),
      output_tokens: Math.max(known.output_tokens, usage.output_tokens),
      cache_creation_input_tokens: Math.max(
        known.cache_creation_input_tokens,
        usage.cache_creation_input_tokens,
      ),
      cache_read_input_tokens: Math.max(
        known.cache_read_input_tokens,
        usage.cache_read_input_tokens,
      ),
    });
  }

  get count(): number {
    return this.#usages.length;
  }

  get usage(): Usage {
    return this.#usages.reduce(addUsage, noUsage);
  }
}

/** Undefined if the process was not lost. */
export function lossOf(thrown: unknown, worker: Worker): LossReason | undefined {
  if (thrown instanceof TurnStalled) return 'hung';
  if (!(thrown instanceof BerthError)) return undefined;
  if (thrown.code !== 'worker_lost' && thrown.code !== 'cli_unavailable') return undefined;
  const { recycledFor } = worker;
  return recycledFor === 'memory' || recycledFor === 'processes' ? recycledFor : 'crashed';
}

/** With what an operator would look for. */
function inWords(reason: LossReason): string {
  return reason === 'processes' ? "processes: near the container's pids limit" : reason;
}

/** For a caller who does not want the turn to be carried on. */
export function optedOut({ details, cause }: BerthError, reason: LossReason): BerthError {
  return new BerthError(
    'worker_recycled',
    `cannot finish the turn: its process was ended (${inWords(reason)}), and "on_recycle" is "fail"; its tools may have done their work, so look before you go on with the session`,
    { details, cause },
  );
}

/** What lost attempts have used. */
export interface Spent {
  usage: Usage;
  costUsd: number;
  /** Answers of the model. */
  numTurns: number;
}

export const nothing: Spent = { usage: noUsage, costUsd: 0, numTurns: 0 };

export function addSpent<T extends Spent>(one: Spent, other: T): T {
  return {
    ...other,
    usage: addUsage(one.usage, other.usage),
    costUsd: one.costUsd + other.costUsd,
    numTurns: one.numTurns + other.numTurns,
  };
}

/** An error that ended a turn, with what the attempts before it have used. */
export function withSpent(error: BerthError, spent: Spent): BerthError {
  if (spent.numTurns === 0 || error.details.usage !== undefined) return error;
  return new BerthError(error.code, error.message, {
    cause: error.cause,
    details: {
      ...error.details,
      usage: spent.usage,
      cost_usd: spent.costUsd,
      num_turns: spent.numTurns,
    },
  });
}

/** US dollars: the CLI ends with the first answer that goes above. */
const leastBudget = 0.000_001;

/** The prompt with what is left of its turns and its budget. */
export function withWhatIsLeft(prompt: Prompt, { costUsd, numTurns }: Spent): Prompt {
  const { limits } = prompt.profile;
  const { maxTurns = limits.maxTurns, maxBudgetUsd = limits.maxBudgetUsd } = prompt.overrides;
  const overrides: Overrides = {
    ...prompt.overrides,
    ...(maxTurns === undefined ? {} : { maxTurns: Math.max(1, maxTurns - numTurns) }),
    ...(maxBudgetUsd === undefined
      ? {}
      : { maxBudgetUsd: Math.max(leastBudget, maxBudgetUsd - costUsd) }),
  };
  return { ...prompt, overrides };
}
