/** The JSON of an approval, as the API answers it and as its webhook sends it. */
import type { KnownApproval } from './approvals.ts';

export type ApprovalView = ReturnType<typeof approvalView>;

/** @param mayDecide whether the caller may decide about it */
export function approvalView(
  { approval, context }: KnownApproval,
  mayDecide: boolean,
  now = Date.now(),
) {
  const { id, tool, input, description, decision, askedAt, expiresAt } = approval;
  return {
    id,
    state: stateOf(approval, now),
    tool,
    input,
    description,
    profile: context.profile,
    token: context.token,
    session_id: context.sessionId,
    job_id: context.jobId,
    requested_at: time(askedAt),
    expires_at: time(expiresAt),
    may_decide: mayDecide,
    decision: decision && {
      decision: decision.kind,
      via: decision.via,
      by: decision.by,
      at: time(decision.at),
      message: decision.message,
      changed_input: decision.updatedInput !== null,
    },
  };
}

/** `ended`: the turn has ended before a decision. */
function stateOf(
  { decision, expiresAt }: KnownApproval['approval'],
  now: number,
): 'pending' | 'allowed' | 'denied' | 'timed_out' | 'ended' {
  if (decision === null) return expiresAt > now ? 'pending' : 'timed_out';
  if (decision.via === 'end') return 'ended';
  if (decision.via === 'timeout') return 'timed_out';
  return decision.kind === 'allow' ? 'allowed' : 'denied';
}

function time(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}
