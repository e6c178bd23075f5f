/**
 * The stream-json protocol of the CLI 2.1.330: typed input and output lines.
 * Invariants: a line that berth writes is valid JSON of a known shape (one bad line ends the CLI).
 * Lines of the CLI are validated in this file only.
 */
import { z } from 'zod';
import { deepest, isDeeperThan } from '../../shared/json-depth.ts';
import { type BackgroundTask, readBackground } from './background.ts';
import { type Loaded, loadedShape } from './cli-health.ts';
import { type HookRun, type HookStop, isOverruled, readHookRun, readPromptStop } from './hooks.ts';
import { type PermissionAsk, readCancelledAsk, readPermissionAsk } from './permission.ts';
import { readResult, readUsage, type TurnResult, type Usage } from './turn-result.ts';
import { type UsageLimit, usageLimitIn } from './usage-limit.ts';

export type CliMessage =
  | { kind: 'session'; sessionId: string; model: string; skills: string[]; loaded: Loaded }
  | { kind: 'text'; text: string }
  /** The usage of a model call so far; `begins` marks the first report about a call. */
  | { kind: 'usage'; begins: boolean; usage: Usage }
  | { kind: 'tools'; tools: { id: string; name: string; input: unknown }[] }
  /** Tools that have ended. */
  | { kind: 'tool_results'; results: { id: string; isError: boolean; error?: string }[] }
  | { kind: 'retry'; attempt: number; maxRetries: number; delayMs: number; status: number | null }
  /** Sent with OAuth only, whenever its content changes. */
  | { kind: 'limit'; limit: UsageLimit }
  /** The CLI reports its own failure: `authentication_failed`, `rate_limit` ... */
  | { kind: 'failure'; error: string; limit?: UsageLimit }
  /** A hook has ended. */
  | { kind: 'hook'; hook: HookRun }
  /** A hook blocks the prompt: the turn ends without an answer. */
  | { kind: 'prompt_stopped'; by: HookStop }
  /** Hooks object to the end of the turn, and the CLI ends it anyway. */
  | { kind: 'hook_overruled' }
  | { kind: 'result'; result: TurnResult }
  /** A turn has taken in the prompt of that id; a scheduled wake-up of the CLI has an id too. */
  | { kind: 'started'; promptId: string }
  /**
   * The prompt of that id is over. Without a start before, the prompt was dropped and has no
   * result.
   */
  | { kind: 'over'; promptId: string }
  /** The CLI wants to know whether that tool may be used: see `toolHook`. */
  | { kind: 'tool_hook'; requestId: string; tool: string | undefined }
  /** The CLI wants to know whether a call of a tool may be made. */
  | { kind: 'permission'; ask: PermissionAsk }
  /** The CLI does not need the answer any more. */
  | { kind: 'permission_over'; requestId: string }
  /** All work that runs in the background now. */
  | { kind: 'background'; tasks: BackgroundTask[] }
  | {
      kind: 'control';
      requestId: string;
      error: string | undefined;
      response: unknown;
      commands?: string[];
    };

const count = z.number().nonnegative().catch(0);
const whole = z.int().nonnegative().catch(0);

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

/** The answer to `initialize` lists the commands and marks the CLI's own. */
const command = z.object({
  name: z.string(),
  aliases: z.array(z.string()).catch([]),
  builtin: z.boolean().optional(),
});

const commandsIn = z
  .object({ commands: z.array(command).optional().catch(undefined) })
  .optional()
  .catch(undefined);

const controlLine = z.object({
  response: z.object({
    request_id: z.string(),
    error: z.string().optional(),
    response: z.unknown().optional(),
  }),
});

const hookRequest = z.object({
  request_id: z.string(),
  request: z.object({
    subtype: z.literal('hook_callback'),
    input: z.object({ tool_name: z.string() }).optional().catch(undefined),
  }),
});

const assistantLine = z.object({
  error: z.string().optional().catch(undefined),
  api_error_params: z.unknown().optional(),
  message: z.object({
    content: z.array(z.looseObject({ type: z.string() })),
  }),
});

const toolResult = z.object({
  type: z.literal('tool_result'),
  tool_use_id: z.string(),
  is_error: z.boolean().catch(false),
  content: z.unknown().optional(),
});

/** Blocks of another kind, and messages that are only text, have no tool results. */
const userMessage = z.object({
  message: z.object({ content: z.array(toolResult.nullable().catch(null)).catch([]) }),
});

/** A very deep input could not be written as JSON again. */
const toolInput = z
  .unknown()
  .transform((input) => (isDeeperThan(input, deepest) ? 'nested too deeply to be shown' : input));
const toolBlock = z.object({ id: z.string(), name: z.string(), input: toolInput });

/**
 * What a message reports about the account's usage limit. A turn that fails at a limit which the process has reported
 * before has no message of its kind `limit`, only its failure.
 */
export function limitIn(message: CliMessage): UsageLimit | undefined {
  return message.kind === 'limit' || message.kind === 'failure' ? message.limit : undefined;
}

/** The fields of a line that decide its kind. */
interface Line {
  type?: unknown;
  subtype?: unknown;
  parent_tool_use_id?: unknown;
  state?: unknown;
  command_uuid?: unknown;
  event?: {
    type?: unknown;
    delta?: { type?: unknown; text?: unknown };
    message?: { usage?: unknown };
    usage?: unknown;
  };
}

/**
 * Parses one line of output; undefined for a line that berth does not use.
 * @throws Error if the line is not JSON, or is a known kind of another shape
 */
export function readMessage(text: string): CliMessage | undefined {
  if (isIrrelevant(text)) return undefined;
  const line = JSON.parse(text) as Line | null;
  // Output of a subagent inside a tool call is not the answer.
  if (typeof line !== 'object' || line === null || typeof line.parent_tool_use_id === 'string') {
    return undefined;
  }
  switch (line.type) {
    case 'stream_event':
      return readStreamEvent(line);
    case 'assistant':
      return readAssistant(line);
    case 'user':
      return readUser(line);
    case 'rate_limit_event':
      return readLimit(line);
    case 'system':
      return readSystem(line);
    case 'result':
      return { kind: 'result', result: readResult(line) };
    case 'command_lifecycle':
      return readLifecycle(line);
    case 'control_request':
      return readToolHook(line) ?? readPermission(line);
    case 'control_cancel_request': {
      const requestId = readCancelledAsk(line);
      return requestId === undefined ? undefined : { kind: 'permission_over', requestId };
    }
    case 'control_response': {
      const { request_id: requestId, error, response } = controlLine.parse(line).response;
      const answered = commandsIn.parse(response);
      const commands = answered?.commands && ownCommands(answered.commands);
      return { kind: 'control', requestId, error, response, ...(commands ? { commands } : {}) };
    }
    default:
      return undefined;
  }
}

function readPermission(line: Line): CliMessage | undefined {
  const ask = readPermissionAsk(line);
  return ask && { kind: 'permission', ask };
}

/** Undefined for another request of the CLI; berth has asked for no other one. */
function readToolHook(line: Line): CliMessage | undefined {
  const { data } = hookRequest.safeParse(line);
  if (!data) return undefined;
  return { kind: 'tool_hook', requestId: data.request_id, tool: data.request.input?.tool_name };
}

/** Names that belong to the user: commands, skills, plugins. */
function ownCommands(all: z.infer<typeof command>[]): string[] {
  return all
    .filter(({ builtin }) => builtin !== true)
    .flatMap(({ name, aliases }) => [name, ...aliases]);
}

/** Most lines of a turn: a stream event without text for the answer or usage is not parsed. */
function isIrrelevant(text: string): boolean {
  if (!text.startsWith('{"type":"stream_event"')) return false;
  return !text.includes('"text_delta"') && !text.includes('"usage"');
}

function readStreamEvent({ event }: Line): CliMessage | undefined {
  if (event?.type === 'message_start') {
    return { kind: 'usage', begins: true, usage: readUsage(event.message?.usage) };
  }
  if (event?.type === 'message_delta') {
    return { kind: 'usage', begins: false, usage: readUsage(event.usage) };
  }
  if (event?.type !== 'content_block_delta' || event.delta?.type !== 'text_delta') return undefined;
  return typeof event.delta.text === 'string'
    ? { kind: 'text', text: event.delta.text }
    : undefined;
}

function readAssistant(line: Line): CliMessage | undefined {
  const { error, api_error_params, message } = assistantLine.parse(line);
  if (error !== undefined) {
    const limit = usageLimitIn(api_error_params);
    return { kind: 'failure', error, ...(limit ? { limit } : {}) };
  }
  const tools = message.content
    .filter((block) => block.type === 'tool_use')
    .map((block) => toolBlock.parse(block));
  return tools.length > 0 ? { kind: 'tools', tools } : undefined;
}

function readUser(line: Line): CliMessage | undefined {
  const blocks = userMessage.safeParse(line).data?.message.content ?? [];
  const results = blocks.flatMap((block) =>
    block ? [{ id: block.tool_use_id, isError: block.is_error, ...errorIn(block) }] : [],
  );
  return results.length > 0 ? { kind: 'tool_results', results } : undefined;
}

/** The number of characters of a failed tool's text that are kept. */
const longestError = 500;

/** The text of a failed tool, as far as it is text. */
function errorIn({ is_error, content }: z.infer<typeof toolResult>): { error?: string } {
  if (!is_error) return {};
  const [first] = Array.isArray(content) ? content : [content];
  const text = typeof first === 'string' ? first : (first as { text?: unknown } | null)?.text;
  return typeof text === 'string' ? { error: text.slice(0, longestError) } : {};
}

/** A limit is only a hint: another shape is no reason to end the process. */
function readLimit(line: Line): CliMessage | undefined {
  const limit = usageLimitIn(line);
  return limit && { kind: 'limit', limit };
}

function readLifecycle({ state, command_uuid: promptId }: Line): CliMessage | undefined {
  if (typeof promptId !== 'string' || state === 'queued') return undefined;
  return { kind: state === 'started' ? 'started' : 'over', promptId };
}

function readSystem(line: Line): CliMessage | undefined {
  switch (line.subtype) {
    case 'init': {
      const { session_id, model, skills } = initLine.parse(line);
      const loaded = loadedShape.parse(line);
      return { kind: 'session', sessionId: session_id, model, skills, loaded };
    }
    case 'api_retry':
      return readRetry(line);
    case 'background_tasks_changed': {
      const tasks = readBackground(line);
      return tasks && { kind: 'background', tasks };
    }
    case 'hook_response': {
      const hook = readHookRun(line);
      return hook && { kind: 'hook', hook };
    }
    case 'informational': {
      const by = readPromptStop(line);
      return by && { kind: 'prompt_stopped', by };
    }
    case 'notification':
      return isOverruled(line) ? { kind: 'hook_overruled' } : undefined;
    default:
      return undefined;
  }
}

function readRetry(line: Line): CliMessage {
  const { attempt, max_retries, retry_delay_ms, error_status } = retryLine.parse(line);
  return {
    kind: 'retry',
    attempt,
    maxRetries: max_retries,
    delayMs: retry_delay_ms,
    status: error_status,
  };
}

/** A picture or a PDF, as the Messages API has it. */
interface EncodedSource {
  type: 'base64';
  media_type: string;
  data: string;
}

/** The CLI (2.1.330) passes these blocks to the API unchanged, also with `client_composed`. */
export type ContentBlock =
  | { type: 'text'; text: string }
  | { type: 'image'; source: EncodedSource }
  | { type: 'document'; title: string; source: EncodedSource };

/** The content of a prompt: plain text, or blocks of which the last one is the text. */
export type PromptContent = string | readonly ContentBlock[];

/**
 * The line that sends a prompt to the CLI. The CLI treats the text as data: a leading `/command` is
 * not run, and the file of an `@mention` is not read. `client_composed` has this effect: the types
 * of the Agent SDK describe it, and versions since 2.1.248 support it. Without the priority, a turn
 * of the CLI's own would take in the prompt after its next tool call, and one result would answer
 * both.
 * @param id a UUID that was not used before in this process; the CLI names it when it starts the
 * prompt
 * @param asCommand the text was typed by a person: its leading command is run
 */
export function userLine(content: PromptContent, id: string, asCommand = false): string {
  return `${JSON.stringify({
    type: 'user',
    message: { role: 'user', content },
    parent_tool_use_id: null,
    ...(asCommand ? {} : { client_composed: true }),
    uuid: id,
    priority: 'later',
  })}\n`;
}

export type ControlRequest =
  | {
      subtype: 'initialize';
      systemPrompt?: readonly string[];
      appendSystemPrompt?: string;
      jsonSchema?: Readonly<Record<string, unknown>>;
      hooks?: typeof toolHook;
    }
  | { subtype: 'set_model'; model: string }
  | { subtype: 'set_permission_mode'; mode: string }
  | { subtype: 'reload_skills' }
  | { subtype: 'get_settings' }
  | { subtype: 'get_usage'; skip_behaviors: true }
  | { subtype: 'mcp_status' }
  | { subtype: 'mcp_reconnect'; serverName: string }
  /** Without `cancel_queued`, a prompt that waits behind the turn then begins. */
  | { subtype: 'interrupt'; cancel_queued?: true };

/** Has the CLI ask berth before each use of a tool, also of a subagent. */
export const toolHook = {
  PreToolUse: [{ matcher: '', hookCallbackIds: ['berth-tools'] }],
} as const;

/** The answer to a question of `toolHook`. @param denied why the tool must not be used */
export function toolHookAnswer(requestId: string, denied: string | undefined): string {
  const decision = {
    hookEventName: 'PreToolUse',
    permissionDecision: 'deny',
    permissionDecisionReason: denied,
  };
  const response = {
    subtype: 'success',
    request_id: requestId,
    response: denied === undefined ? {} : { hookSpecificOutput: decision },
  };
  return `${JSON.stringify({ type: 'control_response', response })}\n`;
}

/** A control request; its answer carries the same id. */
export function controlLineOf(requestId: string, request: ControlRequest): string {
  return `${JSON.stringify({ type: 'control_request', request_id: requestId, request })}\n`;
}
