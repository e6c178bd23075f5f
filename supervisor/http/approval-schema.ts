/** The schemas of `/v1/approvals`: parameters, bodies and answers. */
import { z } from 'zod';

export const approvalIdSchema = z.object({
  id: z.string().max(100, { error: 'expected the id of an approval, as "approval_019c..."' }),
});

export const linkSchema = z.object({ id: z.string().max(100), key: z.string().max(100) });

export const decisionSchema = z
  .strictObject({
    decision: z
      .enum(['allow', 'deny'], { error: 'expected allow or deny' })
      .describe('Whether the call is made'),
    message: z
      .string({ error: 'expected a text' })
      .max(2_000, { error: 'expected at most 2000 characters' })
      .optional()
      .describe('For the model, with deny: why, and what to do instead'),
    updated_input: z
      .record(z.string(), z.unknown(), { error: 'expected the input of the tool' })
      .optional()
      .describe('With allow: the whole input of the tool, which replaces that of the model'),
  })
  .refine(({ decision, message }) => decision === 'deny' || message === undefined, {
    error: 'expected only with deny',
    path: ['message'],
  })
  .refine(({ decision, updated_input }) => decision === 'allow' || updated_input === undefined, {
    error: 'expected only with allow',
    path: ['updated_input'],
  })
  .describe('A decision');

/** The body of the form of a link. */
export const formSchema = z.object({ decision: z.enum(['allow', 'deny']) });

const time = z.string().describe('ISO time');

export const approvalSchema = z
  .object({
    id: z.string(),
    state: z
      .enum(['pending', 'allowed', 'denied', 'timed_out', 'ended'])
      .describe('ended: the turn has ended before a decision'),
    tool: z.string(),
    input: z.record(z.string(), z.unknown()).describe('The whole input of the tool'),
    description: z.string().nullable().describe('A short text of the model about the call'),
    profile: z.string(),
    token: z.string().describe('The name of the token that sent the prompt'),
    session_id: z.string().nullable(),
    job_id: z.string().nullable(),
    requested_at: time,
    expires_at: time.describe('Without a decision until then, the call is denied'),
    may_decide: z.boolean().describe('Whether this token may decide'),
    decision: z
      .object({
        decision: z.enum(['allow', 'deny']),
        via: z.enum(['token', 'link', 'timeout', 'end']),
        by: z.string().nullable().describe('The name of the token'),
        at: time,
        message: z.string().nullable(),
        changed_input: z.boolean(),
      })
      .nullable(),
  })
  .describe('An approval');

export const approvalsSchema = z
  .object({ approvals: z.array(approvalSchema) })
  .describe('Pending approvals, the oldest first');
