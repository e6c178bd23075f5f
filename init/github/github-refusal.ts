/**
 * Turns a failed call of GitHub's API into an error with cause and remedy. A refusal names the
 * permission that the token lacks.
 */
import { BerthError } from '../../shared/errors.ts';
import { answerOf, limitOf } from './github-api.ts';

/** A permission as GitHub's page shows it: `"Pull requests: write"`. */
export type Permission = 'Pull requests: read' | 'Pull requests: write' | 'Contents: write';

/**
 * @param what completes "cannot ..."
 * @param unprocessable the remedy if GitHub does not accept the content of the call (422)
 */
export function refusal(
  error: unknown,
  what: string,
  permission: Permission,
  unprocessable: string,
): BerthError {
  if (error instanceof BerthError) return error;
  const answer = answerOf(error);
  const limit = limitOf(error);
  if (!answer || limit || answer.status >= 500) {
    const until = limit?.until ? ` until ${limit.until.toISOString()}` : '';
    const why = limit ? `GitHub limits the rate${until}` : "GitHub's API does not answer";
    const message = `cannot ${what}: ${why}; try again later`;
    return new BerthError('remote_unavailable', message, { cause: error });
  }
  const { status, text } = answer;
  const refused = (why: string) =>
    new BerthError('remote_refused', `cannot ${what}: ${why}`, {
      cause: error,
      details: { http_status: status },
    });
  const right = `"${permission}"`;
  if (status === 401) {
    return refused(
      'GitHub does not accept the token: it is wrong, expired or revoked; the operator must create a new token',
    );
  }
  if (status === 403) {
    return refused(
      `the token lacks the repository permission ${right} (403); the operator must grant it`,
    );
  }
  if (status === 404) {
    return refused(
      `it does not exist, or the token lacks the repository permission ${right} (404); check the name, and grant the permission`,
    );
  }
  if (status < 400) {
    return refused(
      `the repository was renamed or transferred (${status}); use its present name, which the lists of the operator must have`,
    );
  }
  if (status === 422) {
    return refused(`GitHub does not accept it: ${text.slice(0, 500)}; ${unprocessable}`);
  }
  return refused(`GitHub answers with status ${status}; see the log`);
}
