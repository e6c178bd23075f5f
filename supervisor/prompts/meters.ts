/** The counters of turns: for the metrics and the daily budgets. */
import type { DecisionOutcome } from '../approvals/prompt-approvals.ts';
import type { TurnResult } from '../claude/turn-result.ts';
import type { LossReason } from './lost-turn.ts';
import type { Prompt } from './prompt.ts';

export interface TurnMeters {
  /** The usage and the cost of one turn, also of a turn that failed or was interrupted. */
  spent(prompt: Prompt, turn: Pick<TurnResult, 'costUsd' | 'usage'>): void;
  /** A turn whose cost the CLI has not reported: an estimate was counted. */
  costUnseen(profile: string): void;
  /** A turn whose worker was lost, and whether the turn is continued in another. */
  lost(reason: LossReason, carriedOn: boolean): void;
  /** An approval has ended. */
  approvalEnded(outcome: DecisionOutcome): void;
  /** An answered turn that is not in the transcript of its session. */
  unkept(): void;
}
