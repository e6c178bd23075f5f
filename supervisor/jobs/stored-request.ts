/**
 * The request of a job as it is stored: the fields of a prompt, without those that belong to a connection.
 * Invariants: a stored request is read with the schema below, since a store may be damaged or changed by others. A request
 * of a later berth is kept as it is, and its job waits for that berth: only `unknownIn` decides whether it can run here.
 */
import { z } from 'zod';
import { publishSchema, workspaceSchema } from '../workspaces/workspace-request.ts';
import { flawOf } from './stored-flaw.ts';

export const storedRequestSchema = z.strictObject({
  prompt: z.string(),
  /** The files are kept elsewhere: see AttachmentStore. */
  attachments: z
    .array(z.strictObject({ name: z.string(), media_type: z.string(), bytes: z.number() }))
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

/** What a request of every version has. */
export const anyRequestSchema = z.looseObject({ prompt: z.string() });

/** Why this berth cannot run the request, in words without stored text; undefined if it can. */
export function unknownIn(request: StoredRequest): string | undefined {
  const { error } = storedRequestSchema.safeParse(request);
  return error && flawOf(error);
}
