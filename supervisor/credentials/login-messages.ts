/** What is said of the login file in the log: its state and expiry, and a token's hash, never a token. */
import { loginRemedy } from '../../shared/credentials.ts';
import { messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { CredentialsState } from './login-file.ts';
import type { Waiting } from './put-back.ts';

export function tell(log: Log, state: CredentialsState): void {
  const facts = factsOf(state);
  switch (state.kind) {
    case 'valid':
      log.info('credentials_seen', 'the credentials are valid', facts);
      break;
    case 'missing':
      log.info('credentials_seen', 'there is no credentials file', facts);
      break;
    case 'blank':
      log.error('credentials_seen', 'the CLI has blanked its credentials: log in again', facts);
      break;
    case 'torn':
      log.error('credentials_seen', `the credentials file is no good: ${state.reason}`, facts);
      break;
    case 'older':
      log.error(
        'credentials_seen',
        'the credentials file is an old one, whose refresh token is used up',
        facts,
      );
  }
}

/**
 * Why the login cannot be used, and what helps; for an error, a log line or the status.
 * @param waiting for the volume, of one that could be put back
 */
export function describeLoss(state: CredentialsState, waiting?: Waiting): string {
  const causes: Partial<Record<CredentialsState['kind'], string>> = {
    blank: 'the login server has refused it',
    torn: 'its file is damaged',
    older: 'its file is an old copy, whose refresh token is used up',
  };
  const cause = causes[state.kind] ?? 'there is none';
  if (waiting) {
    return `the CLI's login is gone, for ${cause}, and the last good one cannot be put back yet: ${messageOf(waiting.error)}; berth tries again by itself`;
  }
  return `the CLI's login is lost, for ${cause}; ${loginRemedy}`;
}

function factsOf(state: CredentialsState): Record<string, unknown> {
  if (!('credentials' in state)) return { state: state.kind };
  const { expiresAt, refreshTokenExpiresAt, refreshTokenId } = state.credentials;
  return {
    state: state.kind,
    expires_at: new Date(expiresAt).toISOString(),
    login_expires_at: refreshTokenExpiresAt && new Date(refreshTokenExpiresAt).toISOString(),
    refresh_token_id: refreshTokenId,
  };
}
