/**
 * A turn whose process was lost in the middle of the turn: how a loss is recognised, and the error that the
 * caller gets if the turn is not continued.
 */
import { asBerthError, BerthError } from '../../shared/errors.ts';
import { UnclearResult } from '../claude/process-errors.ts';
import type { TurnResult, Usage } from '../claude/turn-result.ts';
import type { Worker } from '../pool/worker.ts';
import { stalledError } from './outcome.ts';
import { TurnStalled } from './turn.ts';

/** `processes`: the tools of the worker have started nearly as many tasks as the pids limit allows. */
export const lossReasons = ['memory', 'processes', 'crashed', 'hung'] as const;

export type LossReason = (typeof lossReasons)[number];

/** The calls of the model that the CLI has reported before the loss. */
interface CountedCalls {
  readonly usage: Usage;
  readonly count: number;
}

/** Never reaches a caller: the turn is continued, or the caller gets `error`. */
export class TurnLost extends Error {
  readonly worker: Worker;
  /** The ids of all texts that its process was sent for the prompt. */
  readonly promptIds: readonly string[];
  readonly reason: LossReason;
  /** The error that the caller gets if the turn is not continued. */
  readonly error: BerthError;
  readonly calls: CountedCalls;
  /** There is a result if the process hung and still obeyed the interrupt, or if it mixed two turns. */
  readonly result: TurnResult | undefined;

  constructor(
    worker: Worker,
    promptIds: readonly string[],
    calls: CountedCalls,
    reason: LossReason,
    thrown: unknown,
  ) {
    const error = thrown instanceof TurnStalled ? stalledError(thrown) : thrown;
    super(asBerthError(error).message, { cause: error });
    this.worker = worker;
    this.promptIds = promptIds;
    this.calls = calls;
    this.reason = reason;
    this.error = asBerthError(error);
    this.result = resultOf(thrown);
  }
}

/** What the CLI has reported of a turn without an answer. */
export function resultOf(thrown: unknown): TurnResult | undefined {
  if (thrown instanceof TurnStalled) return thrown.end?.result;
  return thrown instanceof UnclearResult ? thrown.result : undefined;
}

/** Why the process was lost; undefined if it was not lost. */
export function lossOf(thrown: unknown, worker: Worker): LossReason | undefined {
  if (thrown instanceof TurnStalled) return 'hung';
  if (!(thrown instanceof BerthError)) return undefined;
  if (thrown.code !== 'worker_lost' && thrown.code !== 'cli_unavailable') return undefined;
  const { recycledFor } = worker;
  return recycledFor === 'memory' || recycledFor === 'processes' ? recycledFor : 'crashed';
}

/** The loss for the caller, with the words that an operator would search for. */
export function describeLoss(reason: LossReason): string {
  const words = reason === 'processes' ? "processes: near the container's pids limit" : reason;
  return `its process was ended (${words})`;
}

/**
 * The error for a caller that opted out of the continuation.
 * @param why what the turn was lost by, as a clause
 */
export function optedOut(
  why: string,
  { details, cause }: Pick<BerthError, 'details' | 'cause'>,
): BerthError {
  return new BerthError(
    'worker_recycled',
    `cannot finish the turn: ${why}, and "on_recycle" is "fail"; its tools may have done their work, so check that before you continue the session`,
    { details, cause },
  );
}
