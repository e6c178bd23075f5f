/**
 * The approvals of a job: stored with the job, so that a question and its decision survive restarts.
 * Invariants: a job that waits is `parked` with the reason `approval`. While the process of its turn still waits, `holder` is
 * the replica of that process: only that replica lets the turn continue. Without a holder, a decision makes the job
 * due, and the resumed session makes the same call again.
 */
import {
  type Approval,
  type ApprovalDecision,
  decided,
  isPending,
  unknownApproval,
} from '../approvals/approval.ts';
import { carryOnDecided } from '../prompts/resume-prompt.ts';
import { become, isEnd, type Job } from './job.ts';
import { withoutOpenAttempt } from './job-attempts.ts';

/** The reason for which a job is parked that waits for an approval. */
export const approvalReason = 'approval';

/** Milliseconds after the time-out: a holder decides before its job is given to others. */
const grace = 60_000;
/** Bytes of the input of a used approval. */
const longestKept = 4 * 1024;
/** Milliseconds that another replica has to let its turn continue after a decision here. */
const patience = 10_000;

/** Whether the turn of that claim waits in a process of that replica. */
export function isHeld(
  { state, parked, claim }: Pick<Job, 'state' | 'parked' | 'claim'>,
  owner: string,
  of: string | undefined,
): boolean {
  const waits = state === 'parked' && parked?.reason === approvalReason;
  return waits && parked.holder === owner && claim === of;
}

/** The running job, which waits from now on. */
export function waitFor(job: Job, approval: Approval, owner: string, now: number): Job {
  const { claim } = job;
  const approvals = withApproval(job, { ...approval, left: undefined });
  const until = approval.expiresAt;
  const parked = { reason: approvalReason, until, holder: owner };
  const fields = { approvals, parked, dueAt: until + grace };
  if (job.state === 'parked') return { ...job, ...fields };
  return become(job, 'parked', now, { ...fields, claim, attempts: withoutOpenAttempt(job) });
}

/**
 * The waiting job, whose turn continues in the same process.
 * @param waits whether that process waits for another approval
 */
export function goOn(
  job: Job,
  approval: Approval,
  owner: string,
  now: number,
  waits: boolean,
): Job {
  const approvals = withApproval(job, withoutLongInput(approval));
  if (job.state === 'running' || waits) return { ...job, approvals };
  return runOn({ ...job, approvals }, owner, now);
}

/**
 * The waiting job, whose turn continues in another process. That process may never ask about the approvals, so a
 * decision about them is only stored.
 */
export function leave(job: Job, owner: string, now: number): Job {
  const approvals = (job.approvals ?? []).map((each) =>
    each.used ? each : { ...each, left: true },
  );
  return runOn({ ...job, approvals }, owner, now);
}

function runOn(job: Job, owner: string, now: number): Job {
  const { claim, approvals, attempts } = job;
  return become(become(job, 'queued', now), 'running', now, { owner, claim, approvals, attempts });
}

/** The waiting job, whose process was given up. */
export function letGo(job: Job, now: number): Job {
  const until = job.parked?.until ?? null;
  const isDecided = !(job.approvals ?? []).some((each) => isPending(each, now));
  return {
    ...job,
    parked: { reason: approvalReason, until },
    dueAt: isDecided ? now : (until ?? now),
  };
}

/**
 * The job with a decision. Without a holder the job is due at once; another replica gets some time for its turn.
 * @param isHere whether the turn waits in a process of this replica
 * @throws BerthError `approval_not_found`, `approval_ended`
 */
export function decideIn(
  job: Job,
  id: string,
  decision: ApprovalDecision,
  { isHere, now }: { isHere: boolean; now: number },
): Job {
  const approval = job.approvals?.find((each) => each.id === id);
  if (!approval) throw unknownApproval(id);
  const after = decided(isEnd(job.state) ? closed(approval, job) : approval, decision);
  if (after === approval) return job;
  const approvals = withApproval(job, after);
  if (job.state !== 'parked' || job.parked?.reason !== approvalReason) return { ...job, approvals };
  // The turn that waited here may have been given up meanwhile.
  if (job.parked.holder === undefined) return become(job, 'queued', now, { approvals, dueAt: now });
  return isHere ? { ...job, approvals } : { ...job, approvals, dueAt: now + patience };
}

/** The approval as callers see it: that of an ended job has ended with the job. */
export function closed(approval: Approval, { endedAt }: Pick<Job, 'endedAt'>): Approval {
  if (approval.decision || endedAt === null) return approval;
  const end = { kind: 'deny', via: 'end', by: null, at: endedAt } as const;
  return { ...approval, decision: { ...end, message: null, updatedInput: null } };
}

/** The job with a change of what is known about an approval, such as its links. */
export function changeIn(
  job: Job,
  id: string,
  change: (approval: Approval) => Partial<Pick<Approval, 'links' | 'notified'>>,
): Job {
  const approvals = (job.approvals ?? []).map((each) =>
    each.id === id ? { ...each, ...change(each) } : each,
  );
  return { ...job, approvals };
}

/**
 * The text that continues the turn of a job in a new process; undefined if no question is open. The CLI has told the model
 * that the outcome of the call is unknown.
 */
export function carryOnWith(approvals: readonly Approval[] | undefined): string | undefined {
  const open = (approvals ?? []).filter(({ used, left }) => !used && !left);
  if (open.length === 0) return undefined;
  const calls = open.map(({ tool, input }) => `${tool} ${JSON.stringify(input)}`);
  return `${carryOnDecided} The call was not made. Make exactly the same call again, then carry on:\n${calls.join('\n')}`;
}

/** A used approval needs its input no more; lists of jobs would carry it. */
function withoutLongInput(approval: Approval): Approval {
  const bytes = Buffer.byteLength(JSON.stringify(approval.input));
  return bytes <= longestKept ? approval : { ...approval, input: { omitted: `${bytes} bytes` } };
}

function withApproval({ approvals = [] }: Job, approval: Approval): Approval[] {
  const known = approvals.find(({ id }) => id === approval.id);
  if (!known) return [...approvals, approval];
  // A decision, links and notices that were stored meanwhile stay.
  const merged = {
    ...approval,
    decision: known.decision ?? approval.decision,
    links: known.links.length > approval.links.length ? known.links : approval.links,
    notified: known.notified || approval.notified,
  };
  return approvals.map((each) => (each.id === approval.id ? merged : each));
}
