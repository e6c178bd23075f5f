/**
 * Runs one turn on one worker: sends the prompt, emits events as they happen, and returns the end of the turn.
 * Invariant: when the signal aborts or the turn hangs, the CLI is interrupted and its result is awaited, bounded.
 * `afterTurn` waits for a result that comes later.
 */

import type { BerthError } from '../../shared/errors.ts';
import { abortable } from '../../shared/waiting.ts';
import type { ApprovalEvent } from '../approvals/prompt-approvals.ts';
import { Questions } from '../approvals/turn-questions.ts';
import type { HookStop } from '../claude/hooks.ts';
import type { PermissionAnswer, PermissionAsk } from '../claude/permission.ts';
import type { ClaudeProcess } from '../claude/process.ts';
import { type CliMessage, limitIn, type PromptContent } from '../claude/protocol.ts';
import type { TurnResult, Usage } from '../claude/turn-result.ts';
import type { UsageLimit } from '../claude/usage-limit.ts';
import { type HangWatch, TurnWatch } from '../health/turn-watch.ts';
import type { LimitReason } from './limit-account.ts';

/** The events that a caller gets while the turn runs. */
export type TurnEvent =
  | { event: 'queued'; data: { position: number } }
  | { event: 'limited'; data: { reason: LimitReason; resets_at: string | null } }
  | { event: 'session'; data: { session_id: string; model: string; skills: string[] } }
  | { event: 'text'; data: { text: string } }
  | { event: 'tool'; data: { id: string; name: string; input: unknown } }
  | { event: 'recycled'; data: { reason: string; session_id: string | null } }
  | ApprovalEvent
  | { event: 'tool_result'; data: { id: string; is_error: boolean } }
  | {
      event: 'retry';
      data: { attempt: number; max_retries: number; delay_ms: number; status: number | null };
    };

export interface TurnEnd {
  result: TurnResult;
  /** The failure that the CLI has reported: `authentication_failed`, `rate_limit` ... */
  failure: string | undefined;
  /** The last report about the account's usage limit; undefined without one. */
  limit: UsageLimit | undefined;
  /** The messages of tools that failed: the first ones, bounded. */
  toolErrors: string[];
  /** The last text of the model, before or after a tool call, bounded. */
  text: string;
  /** The source of the API key, as the init message of the CLI reports it. */
  keySource?: string;
  /** The CLI's message about an `apiKeyHelper` that failed. */
  helperError?: string;
  /** Whether berth has ended the turn because the API refused the login several times. */
  refused?: boolean;
  /** The effects of hooks on the turn. */
  hooks: HooksOfTurn;
}

export interface HooksOfTurn {
  /** The hook that kept the prompt from the model. */
  refused?: HookStop;
  /** The last hook with `continue: false`; the result shows whether that has ended the turn. */
  stopped?: HookStop;
  /** The last hook that objected to the end of the turn, if the CLI has overruled it. */
  overruled?: HookStop;
}

export interface TurnOptions {
  /** A UUID for the prompt that was not used before. */
  promptId?: string;
  /** Whether the prompt begins with a command to run. */
  asCommand?: boolean;
  signal: AbortSignal;
  emit: (event: TurnEvent) => void;
  /** Called with each report of the API about the account's usage limit. */
  onLimit?: (limit: UsageLimit) => void;
  /** Called with the usage of each call of the model so far, again when the usage grows. */
  onUsage?: (usage: Usage, begins: boolean) => void;
  /**
   * Decides about a call of a tool that the CLI asks about; absent: the call is denied. The turn waits. If it rejects with
   * `approval_pending`, the turn ends with that error and the process keeps waiting for an answer.
   */
  approve?: ((ask: PermissionAsk, signal: AbortSignal) => Promise<PermissionAnswer>) | undefined;
  /** Without it, only the signal ends a hang. */
  watch?: HangWatch;
  /** Called with the turn, if it continues after `runTurn` has thrown: its result comes later. */
  onLate?: (turn: Promise<TurnResult>) => void;
  /** Milliseconds that a caller waits for the result of an interrupted turn; 1,000 if absent, 120 are usual. */
  interruptGrace?: number;
}

/** The part of a worker on which a turn runs. */
interface Runner {
  process: ClaudeProcess;
}

/**
 * The turn hung: for the bound the CLI wrote nothing and used no CPU. The turn was interrupted. With `end` the CLI
 * has obeyed; without it the process is stuck. Never reaches a caller: the turn is continued in another process.
 */
export class TurnStalled extends Error {
  readonly quietMs: number;
  readonly end: TurnEnd | undefined;

  constructor(quietMs: number, end: TurnEnd | undefined) {
    super(`the turn did nothing for ${Math.round(quietMs / 1_000)} s`);
    this.name = 'TurnStalled';
    this.quietMs = quietMs;
    this.end = end;
  }
}

/** Milliseconds after `interruptGrace` in which the turn must end, so that its process is used again. */
const clearingGrace = 4_000;
/** Refusals of the login after which the turn is ended; the CLI would retry for three minutes. */
const mostRefusals = 3;
/** Characters of text kept for a turn that fails. */
const longestText = 1024 * 1024;
const mostToolErrors = 50;

/**
 * @returns the end of the turn, also of a turn that the signal interrupted
 * @throws the signal's reason if it was aborted before the turn began, or if the interrupted turn
 *   does not end in a second; TurnStalled; BerthError `worker_lost` if the process ends in the middle
 *   of it, `cli_unavailable` before, `login_unavailable` if the `apiKeyHelper` hangs, `approval_pending` if the turn
 *   is given up while it waits for a person
 */
export async function runTurn(
  worker: Runner,
  content: PromptContent,
  options: TurnOptions,
): Promise<TurnEnd> {
  const { promptId, asCommand, signal, emit, onLimit, onUsage, watch } = options;
  const { interruptGrace = 1_000 } = options;
  signal.throwIfAborted();
  const seen: Omit<TurnEnd, 'result'> = {
    failure: undefined,
    limit: undefined,
    toolErrors: [],
    text: '',
    hooks: {},
  };
  const overdue = new AbortController();
  let stalled: number | undefined;
  let helperHangs: BerthError | undefined;
  let timer: NodeJS.Timeout | undefined;
  const interrupt = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const stall = helperHangs ?? new TurnStalled(stalled ?? 0, undefined);
      overdue.abort(signal.aborted ? signal.reason : stall);
    }, interruptGrace);
    // If the process ends instead, its `run` rejects.
    worker.process.interrupt().catch(() => undefined);
  };
  const onStall = (quiet: number): void => {
    stalled = quiet;
    interrupt();
  };
  const onHelperHang = (error: BerthError): void => {
    helperHangs = error;
    interrupt();
  };
  const turnWatch = watch && new TurnWatch(worker.process, watch, { onStall, onHelperHang });
  signal.addEventListener('abort', interrupt, { once: true });
  const gather = gatherInto(seen);
  const questions = new Questions(worker.process, options, (reason) => overdue.abort(reason));
  const onMessage = (message: CliMessage): void => {
    gather(message);
    turnWatch?.note(message);
    if (message.kind === 'permission') {
      const waited = questions.ask(message.ask);
      turnWatch?.excuseUntil(waited);
    }
    if (message.kind === 'permission_over') questions.takeBack(message.requestId);
    const limit = limitIn(message);
    if (limit) onLimit?.(limit);
    if (message.kind === 'usage') onUsage?.(message.usage, message.begins);
    if (message.kind === 'retry' && message.status === 401 && message.attempt >= mostRefusals) {
      if (!seen.refused) worker.process.interrupt().catch(() => undefined);
      seen.refused = true;
    }
    for (const event of eventsOf(message)) emit(event);
  };
  const turn = worker.process.run(content, onMessage, promptId, asCommand);
  let result: TurnResult;
  try {
    result = await abortable(turn, overdue.signal);
  } catch (thrown) {
    if (overdue.signal.aborted && thrown === overdue.signal.reason) options.onLate?.(turn);
    // The prompt was interrupted while the CLI ran a turn of its own: it never began.
    const dropped = worker.process.idle;
    if (dropped && signal.aborted) throw signal.reason;
    if (dropped && stalled !== undefined) throw new TurnStalled(stalled, undefined);
    throw thrown;
  } finally {
    turnWatch?.stop();
    questions.end();
    clearTimeout(timer);
    signal.removeEventListener('abort', interrupt);
  }
  if (helperHangs && result.isError && !signal.aborted) throw helperHangs;
  const helperError = /apiKeyHelper failed: .*/.exec(worker.process.stderr)?.[0].slice(0, 300);
  const end = { result, ...seen, ...(helperError === undefined ? {} : { helperError }) };
  if (stalled !== undefined && result.isError && !signal.aborted) {
    throw new TurnStalled(stalled, end);
  }
  return end;
}

/**
 * Calls `release` when it is known whether the worker can serve again: at once if its turn is over,
 * otherwise when the turn ends, and after some seconds at the latest.
 */
export function afterTurn({ process }: Runner, release: (usable: boolean) => void): void {
  if (process.idle || !process.alive) release(process.idle);
  else void process.idleWithin(clearingGrace).then(release);
}

/** The tool with which the model gives an output of a schema; the input of the tool is the output. */
const outputTool = 'StructuredOutput';

const unknownHook: HookStop = { event: 'Stop', name: 'Stop', command: undefined, said: '' };

function gatherInto(seen: Omit<TurnEnd, 'result'>): (message: CliMessage) => void {
  let fresh = true;
  let objecting: HookStop | undefined;
  return (message) => {
    switch (message.kind) {
      case 'failure':
        seen.failure = message.error;
        seen.limit = message.limit ?? seen.limit;
        break;
      case 'session':
        seen.keySource = message.loaded.keySource;
        break;
      case 'limit':
        seen.limit = message.limit;
        break;
      case 'usage':
        if (message.begins) fresh = true;
        break;
      case 'tools': {
        fresh = true;
        const output = message.tools.findLast(({ name }) => name === outputTool);
        if (output) seen.text = JSON.stringify(output.input).slice(0, longestText);
        break;
      }
      case 'tool_results':
        for (const { error } of message.results) {
          if (error !== undefined && seen.toolErrors.length < mostToolErrors) {
            seen.toolErrors.push(error);
          }
        }
        break;
      case 'hook': {
        const { event, name, said, stops, blocks } = message.hook;
        const by = { event, name, command: undefined, said };
        if (stops) seen.hooks.stopped = by;
        if (blocks) objecting = by;
        break;
      }
      case 'prompt_stopped':
        seen.hooks.refused = message.by;
        break;
      case 'hook_overruled':
        seen.hooks.overruled = objecting ?? unknownHook;
        break;
      case 'text': {
        const before = fresh ? '' : seen.text;
        seen.text = before + message.text.slice(0, longestText - before.length);
        fresh = false;
      }
    }
  };
}

function eventsOf(message: CliMessage): TurnEvent[] {
  switch (message.kind) {
    case 'session': {
      const { sessionId, model, skills } = message;
      return [{ event: 'session', data: { session_id: sessionId, model, skills } }];
    }
    case 'text':
      return [{ event: 'text', data: { text: message.text } }];
    case 'tools':
      return message.tools.map((data) => ({ event: 'tool', data }));
    case 'tool_results':
      return message.results.map(({ id, isError }) => ({
        event: 'tool_result',
        data: { id, is_error: isError },
      }));
    case 'retry': {
      const { attempt, maxRetries, delayMs, status } = message;
      return [
        { event: 'retry', data: { attempt, max_retries: maxRetries, delay_ms: delayMs, status } },
      ];
    }
    default:
      return [];
  }
}
