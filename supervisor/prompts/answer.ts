/** What a caller gets for a prompt, made from the CLI's result. */
import type { TurnResult } from '../claude/turn-result.ts';
import { hiddenTools, warningsOf } from '../profiles/warnings.ts';
import type { BackgroundReport } from '../sessions/session-record.ts';
import type { LivePrompt } from './live-prompt.ts';
import type { LossReason } from './lost-turn.ts';
import type { TurnEnd } from './turn.ts';

export interface Answer {
  id: string;
  session_id: string;
  profile: string;
  result: string;
  /** What matches `output_schema`; absent without one. */
  structured_output?: unknown;
  /** False: what is no answer is an error with a code. */
  is_error: boolean;
  stop_reason: string | null;
  usage: TurnResult['usage'];
  cost_usd: number;
  num_turns: number;
  /** From acceptance to the answer. */
  duration_ms: number;
  queued_ms: number;
  ttft_ms: number | null;
  /** What a tool was called with is not told. */
  permission_denials: { tool_name: string; tool_use_id: string }[];
  warnings: string[];
  /** What work in the background reported since the last answer; absent if nothing. */
  background?: BackgroundReport[];
  /** How often the turn was carried on in a new process, and why. */
  recycled: number;
  recycle_reason: LossReason | null;
}

export function toAnswer(
  live: LivePrompt,
  { result, toolErrors }: TurnEnd,
  warnings: readonly string[],
  background: BackgroundReport[] = [],
): Answer {
  const { profile, overrides } = live.prompt;
  return {
    id: live.id,
    session_id: result.sessionId,
    profile: profile.name,
    result: result.result,
    ...(result.structuredOutput === undefined
      ? {}
      : { structured_output: result.structuredOutput }),
    is_error: result.isError,
    stop_reason: result.stopReason,
    usage: result.usage,
    cost_usd: result.costUsd,
    num_turns: result.numTurns,
    duration_ms: Math.round(performance.now() - live.acceptedAt),
    queued_ms: Math.round(live.queuedMs),
    ttft_ms: result.ttftMs ?? null,
    permission_denials: result.permissionDenials.map(({ tool_name, tool_use_id }) => ({
      tool_name,
      tool_use_id,
    })),
    warnings: [
      ...warningsOf(result.permissionDenials, profile),
      ...hiddenTools(toolErrors, profile, overrides.allowedTools),
      ...warnings,
    ],
    ...(background.length > 0 ? { background } : {}),
    recycled: live.recycled,
    recycle_reason: live.recycleReason,
  };
}
