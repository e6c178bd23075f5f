/**
 * The question of the CLI whether a tool may be used (`can_use_tool`), and the answer. The CLI asks if it was started with
 * `--permission-prompt-tool=stdio`. Seen with the CLI 2.1.330:
 * - An `ask` rule of managed settings makes the CLI ask, with `decision_reason_type: "rule"`, also if an allow rule of
 *   settings.json matches, and in a compound command whose other parts are allowed. For a command inside another one, such
 *   as `$(...)`, the reason is "other" and `matched_ask_rule` is there. A deny rule is decided without a question.
 * - With the flag the CLI also asks about each call that matches no rule, without such a reason. Without the flag it denies
 *   these calls, so berth denies them with the same text.
 * - The whole rule `Edit` does not match the tool Write; `Edit(path)` does. In the mode `dontAsk` the CLI never asks.
 * - The turn waits without a time limit. An allowed call needs `updatedInput`; an input of another shape is an error of the
 *   tool. A denial is the result of the tool, and is in `permission_denials`; the turn continues.
 * - An interrupt sends `control_cancel_request` for the question, and rejects the call.
 * - After the process has ended, a resumed session does not ask again by itself: the model reads that the outcome of the
 *   call is unknown, and has to make the call again, with a new id.
 */
import { z } from 'zod';

export interface PermissionAsk {
  requestId: string;
  tool: string;
  input: Record<string, unknown>;
  toolUseId: string;
  /** A short text of the model about the call; null without one. */
  description: string | null;
  /** Whether an ask rule matches. Otherwise no rule matches, and the call is denied. */
  byRule: boolean;
}

export type PermissionAnswer =
  | { behavior: 'allow'; updatedInput: Record<string, unknown> }
  | { behavior: 'deny'; message: string };

const question = z.object({
  request_id: z.string(),
  request: z.object({
    subtype: z.literal('can_use_tool'),
    tool_name: z.string(),
    input: z.record(z.string(), z.unknown()),
    tool_use_id: z.string(),
    description: z.string().nullish().catch(null),
    decision_reason_type: z.string().optional().catch(undefined),
    matched_ask_rule: z.unknown().optional(),
  }),
});

const cancelled = z.object({ request_id: z.string() });

/**
 * Undefined for another request of the CLI.
 * @throws Error if a question has another shape: without an answer, the CLI would wait for ever
 */
export function readPermissionAsk(line: unknown): PermissionAsk | undefined {
  const { request } = line as { request?: { subtype?: unknown } | null };
  if (request?.subtype !== 'can_use_tool') return undefined;
  const data = question.parse(line);
  const { tool_name, input, tool_use_id, description, decision_reason_type } = data.request;
  const matched = data.request.matched_ask_rule;
  return {
    requestId: data.request_id,
    tool: tool_name,
    input,
    toolUseId: tool_use_id,
    description: description ?? null,
    byRule: decision_reason_type === 'rule' || (matched !== undefined && matched !== null),
  };
}

/** The id of the question that the CLI takes back. */
export function readCancelledAsk(line: unknown): string | undefined {
  return cancelled.safeParse(line).data?.request_id;
}

/** The line that answers a question. */
export function permissionLine(requestId: string, answer: PermissionAnswer): string {
  const response = { subtype: 'success', request_id: requestId, response: answer };
  return `${JSON.stringify({ type: 'control_response', response })}\n`;
}

/** The words of the CLI for a call that no rule allows. */
export function notGranted(tool: string): PermissionAnswer {
  const message = `Claude requested permissions to use ${tool}, but you haven't granted it yet.`;
  return { behavior: 'deny', message };
}
