/** The approvals of a prompt, if its profile wants calls of tools to be approved. */
import { randomUUID } from 'node:crypto';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { jobOfApproval } from '../approvals/approval.ts';
import type { LiveApprovals } from '../approvals/live-approvals.ts';
import { PromptApprovals } from '../approvals/prompt-approvals.ts';
import type { Pool } from '../pool/pool.ts';
import type { LivePrompt } from './live-prompts.ts';
import type { TurnMeters } from './meters.ts';
import type { TurnEvent } from './turn.ts';

export interface ApprovalOptions {
  approvals: LiveApprovals;
  pool: Pool;
  meters: TurnMeters;
  log: Log;
}

/** Milliseconds before the end of a prompt, or a tenth of its time: the model can still answer after the denial. */
const beforeEnd = 10_000;

/** @param sessionOf the session of the turn, as soon as it is known */
export function approvalsOf(
  { approvals: live, pool, meters, log }: ApprovalOptions,
  { id: promptId, prompt, deadline }: LivePrompt,
  emit: (event: TurnEvent) => void,
  sessionOf: () => string | undefined,
): PromptApprovals | undefined {
  const { profile, token, approvals: keeper } = prompt;
  if (!profile.approvals) return undefined;
  const left = deadline?.left ?? prompt.timeout;
  const end = Date.now() + left - Math.min(beforeEnd, left / 10);
  return new PromptApprovals({
    ...{ rules: profile.approvals, live, emit, keeper, log },
    context: () => ({
      ...{ token, profile: profile.name, promptId, sessionId: sessionOf() ?? null },
      jobId: keeper ? (jobOfApproval(keeper.newId(1)) ?? null) : null,
    }),
    newId: () => `approval_${randomUUID()}`,
    // The wait of a job does not count for its time.
    deadline: keeper ? undefined : end,
    placeIsNeeded: () => pool.queued > 0,
    onWait: (waits) => {
      if (!keeper) return;
      if (waits) deadline?.pause();
      else deadline?.resume();
    },
    onEnded: (outcome) => meters.approvalEnded(outcome),
  });
}

/** Whether the turn was given up while it waited for an approval. */
export function isGivenUp(failure: unknown): boolean {
  return failure instanceof BerthError && failure.code === 'approval_pending';
}
