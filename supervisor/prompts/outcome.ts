/**
 * Decides what the result of a turn means: an answer, or an error with its remedy.
 * Invariants: every result that the CLI calls an error is an error here, and so is a success without an answer. API and
 * login failures arrive as `subtype: "success"` with `is_error`, so only that flag counts. A turn that a hook ended
 * arrives without the flag. The fields and texts are those of the CLI 2.1.330 against a stand-in API; an unknown one
 * gets a more general code.
 */
import { loginRemedy } from '../../shared/credentials.ts';
import { BerthError, type ErrorCode } from '../../shared/errors.ts';
import type { HookStop } from '../claude/hooks.ts';
import type { TurnResult } from '../claude/turn-result.ts';
import type { Profile } from '../profiles/profile.ts';
import { closesAccount } from './limit-account.ts';
import type { TurnEnd, TurnStalled } from './turn.ts';

const remedies = {
  login_required: loginRemedy,
  login_unavailable: 'try again in a minute',
  permission_denied: 'request access from the owner of the organisation, or use another login',
  billing_required: "check the account's billing at claude.ai or platform.claude.com",
  usage_limit: 'try again when it resets',
  rate_limited: 'try again later',
  overloaded: 'try again later',
  model_unavailable: 'try again later',
  model_not_found: 'name another model',
  prompt_too_large:
    'shorten the prompt, put large input into files of the workspace, or begin a new session',
  turns_exceeded: 'raise the limit of turns, or continue the session',
  budget_exceeded: 'raise the budget, or begin a new session',
  output_mismatch: 'see its output in "result", and make the prompt or the schema clearer',
  blocked_by_hook:
    'change the prompt, or the hook in the .claude repository; "result" has the text of the model until then',
  empty_answer:
    'request text in the prompt, or use an output_schema; "result" has the last text of the model, and its tools may have done their work',
  interrupted: 'send it again if you still need the answer',
  turn_failed: 'change the prompt or the model',
} as const satisfies Partial<Record<ErrorCode, string>>;

type FailureCode = keyof typeof remedies;

/**
 * The error of a turn; undefined if the turn has an answer.
 * @param schema whether the output had to match a schema
 */
export function failureOf(end: TurnEnd, schema = false): BerthError | undefined {
  const { result } = end;
  if (result.isError && end.refused) {
    return failure('login_required', 'the API refuses the login (401)', end);
  }
  if (result.isError) return failure(codeOf(end), result.result.slice(0, 500), end);
  const hook = stoppingHook(end);
  if (hook) return failure('blocked_by_hook', inWords(hook), end, hook);
  // The CLI reminds the model once, and then reports a success without an output.
  if (schema && result.structuredOutput === undefined) {
    return failure('output_mismatch', 'the model returned no output for the schema', end);
  }
  return isEmpty(result) ? failure('empty_answer', whyEmpty(result), end) : undefined;
}

/** The hook that has stopped the turn or its answer. */
function stoppingHook({ result, hooks }: TurnEnd): HookStop | undefined {
  const { refused, stopped, overruled } = hooks;
  if (refused) return refused;
  if (byHook.has(result.terminalReason)) return stopped ?? unknownHook;
  return overruled;
}

const byHook = new Set<string | undefined>(['hook_stopped', 'stop_hook_prevented']);
const unknownHook: HookStop = { event: undefined, name: undefined, command: undefined, said: '' };

function inWords({ name, said }: HookStop): string {
  const which = name === undefined ? 'a hook' : `the hook ${name}`;
  return `${which} stopped it${said ? ` (${said})` : ''}`;
}

/** Neither the model nor a command has answered. */
function isEmpty({ result, structuredOutput, byCommand, numTurns }: TurnResult): boolean {
  if (structuredOutput !== undefined || byCommand) return false;
  return result.trim() === '' || numTurns === 0;
}

function whyEmpty({ result, numTurns }: TurnResult): string {
  if (numTurns > 0) return 'the model ended its turn without a word';
  return `the CLI did not send it to the model${result ? ` (${result.slice(0, 200)})` : ''}`;
}

function failure(code: FailureCode, said: string, end: TurnEnd, hook?: HookStop): BerthError {
  const { result, limit, text } = end;
  const kept = code === 'output_mismatch' && !result.isError ? result.result : text;
  const remedy = code === 'login_required' ? remedyOf(end) : remedies[code];
  return new BerthError(code, `cannot answer the prompt: ${said}; ${remedy}`, {
    details: {
      ...turnDetails(result),
      ...(result.apiErrorStatus === undefined ? {} : { api_status: result.apiErrorStatus }),
      ...(hook ? { hook: hookDetails(hook) } : {}),
      ...(code === 'usage_limit' ? resetDetails(limit) : {}),
      ...(withText.has(code) && kept ? { result: kept } : {}),
    },
  });
}

/** The remedy for the login in use: an API key needs no login. */
function remedyOf({ keySource = 'none', helperError }: TurnEnd): string {
  if (keySource === 'none' && helperError === undefined) return loginRemedy;
  if (helperError !== undefined || keySource === 'apiKeyHelper') {
    const cause = helperError === undefined ? '' : ` (${helperError})`;
    return `correct the apiKeyHelper of settings.json${cause}: run its command in the pod, and check its output`;
  }
  return `put a valid API key into the Secret, as ${keySource}, and restart the pod`;
}

function hookDetails({ event, name, command, said }: HookStop): Record<string, string> {
  return {
    ...(event === undefined ? {} : { event }),
    ...(name === undefined ? {} : { name }),
    ...(command === undefined ? {} : { command }),
    ...(said === '' ? {} : { reason: said }),
  };
}

/** Errors that carry the text so far, since it was paid for. */
const withText = new Set<FailureCode>([
  'turns_exceeded',
  'budget_exceeded',
  'output_mismatch',
  'blocked_by_hook',
  'empty_answer',
]);

/** By `terminal_reason`, which the CLI sets for every failure. */
const byReason: Readonly<Record<string, FailureCode>> = {
  max_turns: 'turns_exceeded',
  budget_exhausted: 'budget_exceeded',
  structured_output_retry_exhausted: 'output_mismatch',
  prompt_too_long: 'prompt_too_large',
  aborted_streaming: 'interrupted',
  aborted_tools: 'interrupted',
};

function codeOf(end: TurnEnd): FailureCode {
  const { terminalReason, apiErrorStatus } = end.result;
  const known = terminalReason === undefined ? undefined : byReason[terminalReason];
  if (known) return known;
  if (apiErrorStatus === 413) return 'prompt_too_large';
  return terminalReason === 'api_error' ? apiCodeOf(end) : 'turn_failed';
}

function apiCodeOf({ result, failure: named }: TurnEnd): FailureCode {
  const { apiErrorStatus: status, apiErrorType: type, apiError } = result;
  // A low credit balance arrives as status 400 with this name, or as 402 with this type.
  if (named === 'billing_error' || type === 'billing_error') return 'billing_required';
  if (apiError === 'usage_limit_reached') return 'usage_limit';
  if (status === 429) return 'rate_limited';
  if (status === 403) {
    // A revoked login is a 403 too; only the text differs.
    return /log in again/i.test(result.result) ? 'login_required' : 'permission_denied';
  }
  if (named === 'authentication_failed' || status === 401) return 'login_required';
  // Another process holds the lock of the refresh; the lock of a killed process stays for 90 s.
  if (status === undefined && /refresh OAuth token/i.test(result.result)) {
    return 'login_unavailable';
  }
  if (status === 404) return 'model_not_found';
  if (status === 529 || type === 'overloaded_error') return 'overloaded';
  return status === undefined || status >= 500 ? 'model_unavailable' : 'turn_failed';
}

function resetDetails(limit: TurnEnd['limit']): Record<string, unknown> {
  if (!limit) return {};
  const { resetsAt } = limit;
  const seconds = resetsAt === undefined ? 0 : Math.ceil((resetsAt - Date.now()) / 1_000);
  return {
    ...(resetsAt === undefined ? {} : { resets_at: new Date(resetsAt).toISOString() }),
    // If the end has passed by the clock of this machine, nobody knows when a retry can succeed.
    ...(seconds > 0 ? { retry_after: seconds } : {}),
    // A limit of one model: prompts for others are answered, so the gate stays open.
    ...(closesAccount(limit) ? {} : { model_only: true }),
  };
}

/** The error of a turn that hung and is not continued. */
export function stalledError({ quietMs, end }: TurnStalled): BerthError {
  return new BerthError(
    'worker_lost',
    `cannot finish the turn: the CLI neither wrote nor worked for ${Math.round(quietMs / 1_000)} s; its tools may have done their work, so check that before you continue the session; raise BERTH_HANG_TIMEOUT if the CLI was still working`,
    { details: end ? turnDetails(end.result) : {} },
  );
}

/** The details of an error about its turn: a failed turn was paid for too. */
function turnDetails(result: TurnResult): Record<string, unknown> {
  return {
    session_id: result.sessionId,
    usage: result.usage,
    cost_usd: result.costUsd,
    num_turns: result.numTurns,
  };
}

/**
 * The error of a command that the CLI has answered without a model: the command could not run, for example
 * because a shell command in it was denied. Undefined if a model has answered, or a hook stopped the command.
 */
export function commandFailure(
  name: string,
  profile: Profile,
  { result, hooks }: TurnEnd,
): BerthError | undefined {
  // A command with `context: fork` runs in a subagent: it has no turns here, and a cost.
  const answered = result.numTurns > 0 || result.costUsd > 0;
  if (result.isError || hooks.refused || answered) return undefined;
  return new BerthError(
    'turn_failed',
    `cannot run the command /${name}: ${result.result.slice(0, 500)}; correct it in the .claude repository, or allow the tools that it uses in profiles.${profile.name}.tools.allow`,
    { details: turnDetails(result) },
  );
}

/** Whether a turn has failed because of its login. */
export function isLoginFailure({ code }: BerthError): boolean {
  return code === 'login_required' || code === 'login_unavailable';
}

/** Whether the API has refused the login of the turn, or the CLI has none. */
export function isLoginRefused(end: TurnEnd): boolean {
  const error = failureOf(end);
  return error !== undefined && isLoginFailure(error);
}

/** The error with the details of the turn that it ended. */
export function withTurn(error: BerthError, { result }: TurnEnd): BerthError {
  return new BerthError(error.code, error.message, {
    cause: error.cause,
    details: { ...turnDetails(result), ...error.details },
  });
}
