/**
 * What a turn's result means: an answer, or an error with its remedy.
 * API and login failures arrive as `subtype: "success"` with `is_error`, so only that flag counts.
 */
import { BerthError } from '../../shared/errors.ts';
import type { PermissionDenial, TurnResult } from '../claude/protocol.ts';

const loginRemedy =
  'log in again: put a fresh `claude setup-token` or credentials file into the Secret';

/**
 * The error that a failed turn is, or undefined if it gave an answer. Turns that end at a limit of
 * their own (turns, budget) are answers with `is_error`, not errors of the service.
 * @param failure what the CLI called the failure while the turn ran
 */
export function failureOf(result: TurnResult, failure: string | undefined): BerthError | undefined {
  if (!result.isError || result.terminalReason !== 'api_error') return undefined;
  const details = { session_id: result.sessionId, api_status: result.apiErrorStatus };
  const said = result.result.slice(0, 500);
  const error = (code: BerthError['code'], remedy: string): BerthError =>
    new BerthError(code, `cannot answer the prompt: ${said}; ${remedy}`, { details });

  if (failure === 'authentication_failed' || result.apiErrorStatus === 401) {
    return error('login_required', loginRemedy);
  }
  if (failure === 'billing_error') return error('usage_limit', "check the account's billing");
  if (result.apiErrorStatus === 429) return error('usage_limit', 'try again later');
  if (result.apiErrorStatus === undefined || result.apiErrorStatus >= 500) {
    return error('model_unavailable', 'try again later');
  }
  return error('turn_failed', 'change the prompt or the model');
}

/** One sentence for each tool that the CLI was not allowed to use. */
export function warningsOf(denials: readonly PermissionDenial[]): string[] {
  const tools = new Set(denials.map(({ tool_name }) => tool_name));
  return [...tools].map(
    (tool) =>
      `the tool ${tool} was denied; to allow it, add it to permissions.allow in settings.json of the .claude repository`,
  );
}
