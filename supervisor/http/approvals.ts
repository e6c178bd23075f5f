/**
 * The handlers of `/v1/approvals`, and of the link with which a person decides one approval.
 * Invariants: each decision of a person is in the log as `audit`. A GET of a link decides nothing, since chat programs load
 * links by themselves. A link shows and decides one approval, and nothing else.
 */
import type { FastifyReply } from 'fastify';
import type { z } from 'zod';
import { asBerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { approvalView } from '../jobs/approval-view.ts';
import type { Approvals, KnownApproval } from '../jobs/approvals.ts';
import { approvalPage, decidedPage, errorPage, pageStyle } from './approval-page.ts';
import type { decisionSchema, formSchema } from './approval-schema.ts';
import { pagePolicy } from './security-headers.ts';

export interface ApprovalParts {
  approvals: Pick<Approvals, 'list' | 'read' | 'decide' | 'mayDecide' | 'open' | 'decideByLink'>;
  log: Log;
}

interface ApprovalRequest {
  token: string;
  params: { id: string };
}

export async function listApprovals({ approvals }: ApprovalParts, { token }: { token: string }) {
  const known = await approvals.list(token);
  return { approvals: known.map((each) => approvalView(each, approvals.mayDecide(token, each))) };
}

/** @throws BerthError `approval_not_found` */
export async function showApproval(
  { approvals }: ApprovalParts,
  { token, params }: ApprovalRequest,
) {
  const known = await approvals.read(params.id, token);
  return approvalView(known, approvals.mayDecide(token, known));
}

/** @throws BerthError `approval_not_found`, `approval_ended`, `forbidden` */
export async function decideApproval(
  { approvals, log }: ApprovalParts,
  { token, params: { id }, body }: ApprovalRequest & { body: z.output<typeof decisionSchema> },
) {
  const { decision: kind, message, updated_input: updatedInput } = body;
  try {
    const known = await approvals.decide(id, token, { kind, message, updatedInput });
    auditDecision(log, token, kind, known);
    return approvalView(known, true);
  } catch (error) {
    if (asBerthError(error).code === 'forbidden') {
      const action = `approval_${kind}`;
      log.info('audit', `${token} was refused: ${action}`, {
        ...{ token, action, approval_id: id, refused: true },
      });
    }
    throw error;
  }
}

interface LinkRequest {
  params: { id: string; key: string };
}

export async function showLink(
  { approvals }: ApprovalParts,
  { params: { id, key } }: LinkRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  return answerPage(reply, async () => {
    const known = await approvals.open(id, key);
    const view = approvalView(known, true);
    return view.state === 'pending' ? approvalPage(view) : decidedPage(view);
  });
}

export async function decideByLink(
  { approvals, log }: ApprovalParts,
  { params: { id, key }, body }: LinkRequest & { body: z.output<typeof formSchema> },
  reply: FastifyReply,
): Promise<FastifyReply> {
  return answerPage(reply, async () => {
    const known = await approvals.decideByLink(id, key, body.decision);
    auditDecision(log, 'link', body.decision, known);
    return decidedPage(approvalView(known, true));
  });
}

/** The person at a link gets errors as a page too. */
async function answerPage(reply: FastifyReply, page: () => Promise<string>): Promise<FastifyReply> {
  const policy = pagePolicy(pageStyle, "'self'");
  reply.type('text/html; charset=utf-8').header('content-security-policy', policy);
  try {
    return reply.send(await page());
  } catch (thrown) {
    const error = asBerthError(thrown);
    return reply.code(error.status).send(errorPage(error));
  }
}

function auditDecision(
  log: Log,
  token: string,
  kind: 'allow' | 'deny',
  { approval, context }: KnownApproval,
): void {
  const action = `approval_${kind}`;
  log.info('audit', `${token} did: ${action}`, {
    ...{ token, action, approval_id: approval.id, tool: approval.tool },
    ...{ profile: context.profile, asked_by: context.token },
    ...{ session_id: context.sessionId, job_id: context.jobId },
  });
}
