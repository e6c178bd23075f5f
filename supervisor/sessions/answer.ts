/** What a caller gets for a prompt, made from the CLI's result. */
import type { TurnResult } from '../claude/protocol.ts';
import { warningsOf } from './outcome.ts';

export interface Answer {
  id: string;
  session_id: string;
  result: string;
  /** True if the turn ended at a limit of its own (turns, budget) instead of with an answer. */
  is_error: boolean;
  stop_reason: string | null;
  usage: TurnResult['usage'];
  cost_usd: number;
  num_turns: number;
  /** From acceptance to the answer. */
  duration_ms: number;
  queued_ms: number;
  ttft_ms: number | null;
  permission_denials: TurnResult['permissionDenials'];
  warnings: string[];
  /** How often the turn was carried on in a new process. */
  recycled: number;
}

export function toAnswer(
  id: string,
  result: TurnResult,
  durationMs: number,
  queuedMs: number,
  warnings: readonly string[],
): Answer {
  return {
    id,
    session_id: result.sessionId,
    result: result.result,
    is_error: result.isError,
    stop_reason: result.stopReason,
    usage: result.usage,
    cost_usd: result.costUsd,
    num_turns: result.numTurns,
    duration_ms: Math.round(durationMs),
    queued_ms: Math.round(queuedMs),
    ttft_ms: result.ttftMs ?? null,
    permission_denials: result.permissionDenials,
    warnings: [...warningsOf(result.permissionDenials), ...warnings],
    recycled: 0,
  };
}
