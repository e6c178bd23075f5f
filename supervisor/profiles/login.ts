/** Which login a profile's processes use, for what is counted by login: an account's limits. */
import type { Profile } from './profile.ts';

/** Each of these beats the credentials file, or leads to another service. */
const variables = [
  'ANTHROPIC_API_KEY',
  'ANTHROPIC_AUTH_TOKEN',
  'ANTHROPIC_BASE_URL',
  'CLAUDE_CODE_OAUTH_TOKEN',
  'CLAUDE_CODE_USE_BEDROCK',
  'CLAUDE_CODE_USE_VERTEX',
];

/** The login of all profiles without one of their own. */
export const commonLogin = 'default';

/** The name of a profile with a login of its own; `default` for all others. */
export function loginOf({ name, environment }: Profile): string {
  const own = variables.some((variable) => Object.hasOwn(environment, variable));
  return own ? `profile ${name}` : commonLogin;
}
