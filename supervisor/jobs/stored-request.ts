/**
 * The request of a job as it is stored: the fields of a prompt, without those that belong to a connection.
 * Invariant: a stored request is read with the schema below, since a store may be damaged or changed by others.
 */
import { z } from 'zod';
import { publishSchema, workspaceSchema } from '../workspaces/workspace-request.ts';

export const storedRequestSchema = z.strictObject({
  prompt: z.string(),
  /** The files are kept elsewhere: see AttachmentStore. */
  attachments: z
    .array(z.object({ name: z.string(), media_type: z.string(), bytes: z.number() }))
    .optional(),
  session_id: z.string().optional(),
  fork: z.boolean().optional(),
  profile: z.string().optional(),
  model: z.string().optional(),
  append_system_prompt: z.string().optional(),
  allowed_tools: z.array(z.string()).optional(),
  max_turns: z.number().optional(),
  max_budget_usd: z.number().optional(),
  output_schema: z.record(z.string(), z.unknown()).optional(),
  on_recycle: z.enum(['continue', 'fail']).optional(),
  traceparent: z.string().optional(),
  workspace: workspaceSchema.optional(),
  publish: publishSchema.optional(),
});

export type StoredRequest = z.infer<typeof storedRequestSchema>;
