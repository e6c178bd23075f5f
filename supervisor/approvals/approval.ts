/**
 * An approval: the question whether one call of a tool may be made, and its decision.
 * Invariants: an approval is decided once. A decision counts for one call with the same tool and the same input. Times are
 * milliseconds since 1970.
 */
import { isDeepStrictEqual } from 'node:util';
import { BerthError } from '../../shared/errors.ts';

/**
 * How the decision came: by a person's token, by a link, because nobody has answered in time, or because the turn or its
 * job has ended.
 */
export type DecidedVia = 'token' | 'link' | 'timeout' | 'end';

export interface ApprovalDecision {
  kind: 'allow' | 'deny';
  via: DecidedVia;
  /** The name of the token; null without one. */
  by: string | null;
  at: number;
  /** For the model, with a denial. */
  message: string | null;
  /** Replaces the input of the call; null: unchanged. */
  updatedInput: Record<string, unknown> | null;
}

export interface Approval {
  /** `approval_...`; that of a job names the job. */
  id: string;
  tool: string;
  input: Record<string, unknown>;
  toolUseId: string;
  description: string | null;
  askedAt: number;
  /** Without an answer until then, the call is denied. */
  expiresAt: number;
  decision: ApprovalDecision | null;
  /** Whether the decision has been given to the CLI. */
  used: boolean;
  /** SHA-256 of the keys of links, in hex. The keys are not stored. */
  links: string[];
  /** Whether the webhook has accepted the question, or none is configured. */
  notified: boolean;
  /** Whether its process was lost, and the turn has gone on without the call. */
  left?: boolean | undefined;
}

/** Where the question comes from. */
export interface ApprovalContext {
  /** The name of the token that sent the prompt. */
  token: string;
  profile: string;
  promptId: string | null;
  jobId: string | null;
  sessionId: string | null;
}

/** Bytes of the input as JSON: a person must be able to read all of it. */
export const longestInput = 64 * 1024;
/** Approvals of one prompt that are kept; a model that asks more often is denied. */
export const mostApprovals = 100;

/** The id of an approval of a job. @param number from 1, within the job */
export function idInJob(job: string, number: number): string {
  return `approval_${job.slice('job_'.length)}_${number}`;
}

const ofJob = /^approval_([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})_\d{1,4}$/;

/** The job of an approval; undefined if its prompt was no job. */
export function jobOfApproval(id: string): string | undefined {
  const [, uuid] = ofJob.exec(id) ?? [];
  return uuid === undefined ? undefined : `job_${uuid}`;
}

/** Whether the approval is about that call. */
export function isAbout(
  { tool, input }: Pick<Approval, 'tool' | 'input'>,
  call: { tool: string; input: unknown },
): boolean {
  return tool === call.tool && isDeepStrictEqual(input, call.input);
}

export function isPending({ decision, expiresAt }: Approval, now: number): boolean {
  return decision === null && expiresAt > now;
}

/** The decision of an approval that nobody has answered in time. */
export function timedOut(at: number): ApprovalDecision {
  const message = 'Nobody has approved this call in time. Do not try it again.';
  return { kind: 'deny', via: 'timeout', by: null, at, message, updatedInput: null };
}

/** The decision of an approval whose turn has ended before an answer came. */
export function ended(at: number): ApprovalDecision {
  return { kind: 'deny', via: 'end', by: null, at, message: null, updatedInput: null };
}

/** The approval with its decision, or with that of its time-out. @throws BerthError `approval_ended` */
export function decided(approval: Approval, decision: ApprovalDecision): Approval {
  const earlier =
    approval.decision ?? (approval.expiresAt <= decision.at ? timedOut(approval.expiresAt) : null);
  if (earlier === null || decision.via === 'timeout') {
    return approval.decision === null ? { ...approval, decision } : approval;
  }
  throw alreadyEnded(approval.id, earlier);
}

function alreadyEnded(id: string, { via, kind, by, at }: ApprovalDecision): BerthError {
  const when = new Date(at).toISOString();
  const verdict = kind === 'allow' ? 'allowed' : 'denied';
  const how = {
    token: `${by} has ${verdict} the call at ${when}`,
    link: `the call was ${verdict} with its link at ${when}`,
    timeout: `its time was over at ${when}, and the call was denied`,
    end: `its turn has ended at ${when}`,
  }[via];
  return new BerthError('approval_ended', `cannot decide ${id}: ${how}; send the prompt again`, {
    details: { decision: { kind, via, by, at: when } },
  });
}

/** The error for an approval that does not exist or that the caller may not see: both get the same text. */
export function unknownApproval(id: string): BerthError {
  return new BerthError(
    'approval_not_found',
    `cannot find the approval ${id.slice(0, 100)}: this caller has no approval with this id; list them with GET /v1/approvals`,
  );
}
