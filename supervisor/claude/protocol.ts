/**
 * The stream-json protocol of the CLI, as 2.1.330 speaks it: lines in, lines out, typed.
 * Always holds: a line that is written is valid JSON of a known shape (one bad line ends the CLI),
 * and what is read is checked here and nowhere else.
 */
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
}

/** What ends a turn. */
export interface TurnResult {
  /** `success`, `error_max_turns`, `error_during_execution` ...; API failures say `success` too. */
  subtype: string;
  isError: boolean;
  sessionId: string;
  result: string;
  stopReason: string | null;
  /** `completed`, `api_error`, `aborted_streaming`, `aborted_tools`, `max_turns` ... */
  terminalReason: string | undefined;
  apiErrorStatus: number | undefined;
  usage: Usage;
  /** US dollars of this turn alone. */
  costUsd: number;
  numTurns: number;
  durationMs: number;
  ttftMs: number | undefined;
  permissionDenials: PermissionDenial[];
  /**
   * True if nobody prompted for this turn: when a background task ends, the CLI runs a turn of its
   * own, at any time between prompts.
   */
  unprompted: boolean;
}

export type CliMessage =
  | { kind: 'session'; sessionId: string; model: string; skills: string[] }
  | { kind: 'text'; text: string }
  | { kind: 'tools'; tools: { id: string; name: string; input: unknown }[] }
  | { kind: 'retry'; attempt: number; maxRetries: number; delayMs: number; status: number | null }
  /** The CLI speaks for itself about a failure: `authentication_failed`, `rate_limit` ... */
  | { kind: 'failure'; error: string }
  | { kind: 'result'; result: TurnResult }
  /** The prompt of that id is being worked on; what came before belongs to an unprompted turn. */
  | { kind: 'started'; promptId: string }
  | { kind: 'control'; requestId: string; error: string | undefined };

const count = z.number().nonnegative().catch(0);
const whole = z.int().nonnegative().catch(0);

const usage = z
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

const resultLine = z.object({
  subtype: z.string(),
  is_error: z.boolean(),
  session_id: z.uuid(),
  result: z.string().catch(''),
  errors: z.array(z.string()).catch([]),
  stop_reason: z.string().nullable().catch(null),
  terminal_reason: z.string().optional().catch(undefined),
  api_error_status: z.number().optional().catch(undefined),
  usage,
  model_usage_since_last_result: z.record(z.string(), z.object({ costUSD: count })).catch({}),
  num_turns: whole,
  duration_ms: whole,
  ttft_ms: z.number().optional().catch(undefined),
  permission_denials: z
    .array(z.object({ tool_name: z.string(), tool_use_id: z.string() }))
    .catch([]),
  origin: z.unknown().optional(),
});

const initLine = z.object({
  session_id: z.uuid(),
  model: z.string().catch(''),
  skills: z.array(z.string()).catch([]),
});

const retryLine = z.object({
  attempt: whole,
  max_retries: whole,
  retry_delay_ms: count,
  error_status: z.number().nullable().catch(null),
});

const controlLine = z.object({
  response: z.object({ request_id: z.string(), error: z.string().optional() }),
});

const assistantLine = z.object({
  error: z.string().optional().catch(undefined),
  message: z.object({
    content: z.array(z.looseObject({ type: z.string() })),
  }),
});

const toolBlock = z.object({ id: z.string(), name: z.string(), input: z.unknown() });

/** The parts of a line that decide what it is. */
interface Line {
  type?: unknown;
  subtype?: unknown;
  parent_tool_use_id?: unknown;
  state?: unknown;
  command_uuid?: unknown;
  event?: { type?: unknown; delta?: { type?: unknown; text?: unknown } };
}

/**
 * What one line of output says; undefined for all that berth has no use for.
 * @throws Error if the line is not JSON, or is a known kind of another shape
 */
export function readMessage(text: string): CliMessage | undefined {
  const line = JSON.parse(text) as Line | null;
  // What a subagent says inside a tool call is not the answer.
  if (typeof line !== 'object' || line === null || typeof line.parent_tool_use_id === 'string') {
    return undefined;
  }
  switch (line.type) {
    case 'stream_event':
      return readStreamEvent(line);
    case 'assistant':
      return readAssistant(line);
    case 'system':
      return readSystem(line);
    case 'result':
      return { kind: 'result', result: readResult(line) };
    case 'command_lifecycle':
      return line.state === 'started' && typeof line.command_uuid === 'string'
        ? { kind: 'started', promptId: line.command_uuid }
        : undefined;
    case 'control_response': {
      const { response } = controlLine.parse(line);
      return { kind: 'control', requestId: response.request_id, error: response.error };
    }
    default:
      return undefined;
  }
}

function readStreamEvent({ event }: Line): CliMessage | undefined {
  if (event?.type !== 'content_block_delta' || event.delta?.type !== 'text_delta') return undefined;
  return typeof event.delta.text === 'string'
    ? { kind: 'text', text: event.delta.text }
    : undefined;
}

function readAssistant(line: Line): CliMessage | undefined {
  const { error, message } = assistantLine.parse(line);
  if (error !== undefined) return { kind: 'failure', error };
  const tools = message.content
    .filter((block) => block.type === 'tool_use')
    .map((block) => toolBlock.parse(block));
  return tools.length > 0 ? { kind: 'tools', tools } : undefined;
}

function readSystem(line: Line): CliMessage | undefined {
  if (line.subtype === 'init') {
    const { session_id, model, skills } = initLine.parse(line);
    return { kind: 'session', sessionId: session_id, model, skills };
  }
  if (line.subtype === 'api_retry') {
    const { attempt, max_retries, retry_delay_ms, error_status } = retryLine.parse(line);
    return {
      kind: 'retry',
      attempt,
      maxRetries: max_retries,
      delayMs: retry_delay_ms,
      status: error_status,
    };
  }
  return undefined;
}

function readResult(line: Line): TurnResult {
  const parsed = resultLine.parse(line);
  const costs = Object.values(parsed.model_usage_since_last_result);
  return {
    subtype: parsed.subtype,
    isError: parsed.is_error,
    sessionId: parsed.session_id,
    result: parsed.result || parsed.errors.join('; '),
    stopReason: parsed.stop_reason,
    terminalReason: parsed.terminal_reason,
    apiErrorStatus: parsed.api_error_status,
    usage: parsed.usage,
    costUsd: costs.reduce((sum, { costUSD }) => sum + costUSD, 0),
    numTurns: parsed.num_turns,
    durationMs: parsed.duration_ms,
    ttftMs: parsed.ttft_ms,
    permissionDenials: parsed.permission_denials,
    unprompted: parsed.origin !== undefined,
  };
}

/**
 * A prompt, as the line that hands it to the CLI.
 * @param id a UUID that was not used before in this process; the CLI names it when it starts
 */
export function userLine(text: string, id: string): string {
  return `${JSON.stringify({
    type: 'user',
    message: { role: 'user', content: text },
    parent_tool_use_id: null,
    uuid: id,
  })}\n`;
}

export type ControlRequest =
  | { subtype: 'initialize' }
  | { subtype: 'interrupt'; cancel_queued: true };

/** A control request; its answer carries the same id. */
export function controlLineOf(requestId: string, request: ControlRequest): string {
  return `${JSON.stringify({ type: 'control_request', request_id: requestId, request })}\n`;
}
