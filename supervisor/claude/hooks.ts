/**
 * Parses the CLI's reports about hooks (2.1.330): how each hook ended (`system/hook_response`, with
 * `--include-hook-events`), that a hook blocked a prompt, and that a hook's objection was
 * overruled.
 * Invariants: the output of a hook is cut to one bounded line. No part of a prompt is kept.
 */
import { z } from 'zod';

/** A hook that has ended. */
export interface HookRun {
  /** `PreToolUse`, `Stop` ... */
  event: string;
  /** The event and its subject: `PreToolUse:Bash`, `SessionStart:startup`. */
  name: string;
  /** `failed`: neither a success nor exit code 2, which means "no". */
  outcome: 'done' | 'failed' | 'timed_out';
  exitCode: number | undefined;
  /** The hook blocks its subject: exit code 2, or `decision: block`. */
  blocks: boolean;
  /** The hook ends the turn: `continue: false`. */
  stops: boolean;
  /** The reason that the hook reports, or its last output to standard error; may be empty. */
  said: string;
}

/** The hook that ended a turn or blocked its prompt. */
export interface HookStop {
  event: string | undefined;
  name: string | undefined;
  /** The command of the hook, if the CLI names it. */
  command: string | undefined;
  said: string;
}

const longestText = 500;

const hookLine = z.object({
  hook_event: z.string(),
  hook_name: z.string(),
  outcome: z.string().catch('success'),
  exit_code: z.number().optional().catch(undefined),
  stdout: z.string().catch(''),
  stderr: z.string().catch(''),
});

const verdict = z.object({
  continue: z.boolean().optional().catch(undefined),
  stopReason: z.string().catch(''),
  decision: z.string().optional().catch(undefined),
  reason: z.string().catch(''),
});

/** Undefined if the line has another shape: nothing depends on it. */
export function readHookRun(line: unknown): HookRun | undefined {
  const parsed = hookLine.safeParse(line);
  if (!parsed.success) return undefined;
  const { hook_event, hook_name, outcome, exit_code, stdout, stderr } = parsed.data;
  const answer = verdictIn(stdout);
  const stops = answer?.continue === false;
  const blocks = exit_code === 2 || answer?.decision === 'block';
  const reason = stops ? answer.stopReason : (answer?.reason ?? '');
  return {
    event: hook_event,
    name: hook_name,
    outcome: outcomeOf(outcome, blocks),
    exitCode: exit_code,
    blocks,
    stops,
    said: oneLine(reason || lastLine(stderr)),
  };
}

function outcomeOf(outcome: string, blocks: boolean): HookRun['outcome'] {
  if (outcome === 'cancelled') return 'timed_out';
  return outcome === 'error' && !blocks ? 'failed' : 'done';
}

function verdictIn(stdout: string): z.infer<typeof verdict> | undefined {
  if (!stdout.trimStart().startsWith('{')) return undefined;
  try {
    return verdict.safeParse(JSON.parse(stdout)).data;
  } catch {
    // The CLI treats output that is not JSON as a remark.
    return undefined;
  }
}

const submitLine = z.object({
  content: z.string().catch(''),
  prompt_submit_outcome: z.object({ reason: z.string().catch('') }),
});

/** The hook that blocked the prompt; undefined if the line reports no such hook. */
export function readPromptStop(line: unknown): HookStop | undefined {
  const parsed = submitLine.safeParse(line);
  if (!parsed.success) return undefined;
  const { content, prompt_submit_outcome } = parsed.data;
  const { reason } = prompt_submit_outcome;
  const event = /^(\w+) operation blocked by hook:/.exec(content)?.[1] ?? 'UserPromptSubmit';
  return { event, name: event, command: commandIn(content, reason), said: oneLine(reason) };
}

/** Parses `[the command]: the reason`, the CLI's format for a hook with exit code 2. */
function commandIn(content: string, reason: string): string | undefined {
  const start = content.indexOf('\n[');
  const end = reason === '' ? -1 : content.indexOf(`]: ${reason}`);
  return start >= 0 && end > start ? oneLine(content.slice(start + 2, end)) : undefined;
}

/** Whether the CLI reports that it ends a turn despite repeated objections of hooks. */
export function isOverruled(line: unknown): boolean {
  return (line as { key?: unknown }).key === 'stop-hook-block-cap';
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1) ?? '';
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim().slice(0, longestText);
}
