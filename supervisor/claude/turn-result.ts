/** The result of a turn, parsed from the CLI's `result` line. */
import { z } from 'zod';

/** Tokens of one turn. */
export interface Usage {
  input_tokens: number;
  output_tokens: number;
  cache_creation_input_tokens: number;
  cache_read_input_tokens: number;
}

export interface PermissionDenial {
  tool_name: string;
  tool_use_id: string;
  /** The input of the tool; it may quote secrets. */
  tool_input?: unknown;
}

/** The result of a turn. */
export interface TurnResult {
  /**
   * `success`, `error_max_turns`, `error_during_execution` ...; API failures have `success` too.
   */
  subtype: string;
  isError: boolean;
  sessionId: string;
  result: string;
  stopReason: string | null;
  /**
   * `completed`, `api_error`, `prompt_too_long`, `aborted_streaming`, `aborted_tools`, `max_turns`,
   * `budget_exhausted`, `structured_output_retry_exhausted`. For a turn that a hook ended, which is
   * no error for the CLI: `hook_stopped` or `stop_hook_prevented` ...
   */
  terminalReason: string | undefined;
  apiErrorStatus: number | undefined;
  /** The API's name of its error: `overloaded_error`, `billing_error` ... */
  apiErrorType: string | undefined;
  /** The CLI's name of an API error: `usage_limit_reached`, `connection_failed` ... */
  apiError: string | undefined;
  /** The model's output for `--json-schema`, validated by the CLI; undefined without an output. */
  structuredOutput: unknown;
  /** The CLI answered without the model, as for a command such as `/clear`. */
  byCommand: boolean;
  usage: Usage;
  /** US dollars of this turn only. */
  costUsd: number;
  /** False if a model has answered and the CLI reports no cost: then `costUsd` means nothing. */
  costSeen: boolean;
  numTurns: number;
  durationMs: number;
  ttftMs: number | undefined;
  permissionDenials: PermissionDenial[];
  /** The ids of the prompts that the turn has taken in; empty for a turn of the CLI's own. */
  promptIds: readonly string[];
  /**
   * True if the CLI names another origin than a prompt, for example the end of a background task.
   */
  otherOrigin: boolean;
}

const whole = z.int().nonnegative().catch(0);

const usageShape = z
  .object({
    input_tokens: whole,
    output_tokens: whole,
    cache_creation_input_tokens: whole,
    cache_read_input_tokens: whole,
  })
  .catch({
    input_tokens: 0,
    output_tokens: 0,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
  });

/** Missing values and values of another shape count as 0. */
export function readUsage(usage: unknown): Usage {
  return usageShape.parse(usage);
}

const resultLine = z.object({
  subtype: z.string(),
  is_error: z.boolean(),
  session_id: z.uuid(),
  result: z.string().catch(''),
  errors: z.array(z.string()).catch([]),
  stop_reason: z.string().nullable().catch(null),
  terminal_reason: z.string().optional().catch(undefined),
  api_error_status: z.number().optional().catch(undefined),
  api_error_type: z.string().optional().catch(undefined),
  api_error: z.string().optional().catch(undefined),
  structured_output: z.unknown().optional(),
  local_command: z.unknown().optional(),
  usage: usageShape,
  model_usage_since_last_result: z
    .record(z.string(), z.object({ costUSD: z.number().nonnegative().optional().catch(undefined) }))
    .optional()
    .catch(undefined),
  num_turns: whole,
  duration_ms: whole,
  ttft_ms: z.number().optional().catch(undefined),
  permission_denials: z
    .array(
      z.object({
        tool_name: z.string(),
        tool_use_id: z.string(),
        tool_input: z.unknown().optional(),
      }),
    )
    .catch([]),
  user_message_uuids: z.array(z.string()).catch([]),
  origin: z.unknown().optional(),
});

/** @throws Error if an essential field is missing: whether the turn failed, and its session */
export function readResult(line: unknown): TurnResult {
  const parsed = resultLine.parse(line);
  return {
    subtype: parsed.subtype,
    isError: parsed.is_error,
    sessionId: parsed.session_id,
    result: parsed.result || parsed.errors.join('; '),
    stopReason: parsed.stop_reason,
    terminalReason: parsed.terminal_reason,
    apiErrorStatus: parsed.api_error_status,
    apiErrorType: parsed.api_error_type,
    apiError: parsed.api_error,
    structuredOutput: parsed.structured_output,
    byCommand: parsed.local_command !== undefined,
    usage: parsed.usage,
    ...costOf(parsed),
    numTurns: parsed.num_turns,
    durationMs: parsed.duration_ms,
    ttftMs: parsed.ttft_ms,
    permissionDenials: parsed.permission_denials,
    promptIds: parsed.user_message_uuids,
    otherOrigin: parsed.origin !== undefined,
  };
}

function costOf(line: z.infer<typeof resultLine>): Pick<TurnResult, 'costUsd' | 'costSeen'> {
  const { usage, is_error, num_turns, local_command, model_usage_since_last_result: costs } = line;
  const used = Object.values(usage).some((tokens) => tokens > 0);
  const answered = !is_error && (used || (num_turns > 0 && local_command === undefined));
  if (costs === undefined) return { costUsd: 0, costSeen: !used && !answered };
  const amounts = Object.values(costs).map(({ costUSD }) => costUSD);
  const known = amounts.filter((amount) => amount !== undefined);
  // An interrupted turn may have used tokens that the CLI counts with no model.
  const costSeen = amounts.length > 0 ? known.length === amounts.length : !answered;
  return { costUsd: known.reduce((sum, amount) => sum + amount, 0), costSeen };
}
