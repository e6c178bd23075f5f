/** Which login a profile's processes use: for an account's limits, and for who needs the login file. */
import { bringsLogin, setupTokenIn } from '../../shared/login-variables.ts';
import { readVariable } from './launch.ts';
import type { Profile } from './profile.ts';

/** The login of all profiles without one of their own. */
export const commonLogin = 'default';

/** The name of a profile with a login of its own, or with another API; `default` for all others. */
export function loginOf({ name, environment }: Profile): string {
  const own = bringsLogin(environment) || Boolean(environment.ANTHROPIC_BASE_URL);
  return own ? `profile ${name}` : commonLogin;
}

/**
 * Whether a profile's processes use the login file. Each prompt asks, and a profile is never changed
 * itself, so what is found is kept with it.
 * @param inherited what they get from the container
 */
export function loginFileUse(
  inherited: Readonly<Record<string, string | undefined>>,
): (profile: Profile) => boolean {
  const known = new WeakMap<Profile, boolean>();
  return (profile) => {
    const uses = known.get(profile) ?? !bringsLogin({ ...inherited, ...profile.environment });
    known.set(profile, uses);
    return uses;
  };
}

/** The own setup-tokens of profiles, by their names. */
export function setupTokensOf(profiles: readonly Profile[]): Map<string, string> {
  const tokens = new Map<string, string>();
  for (const profile of profiles) {
    const token = setupTokenOf(profile);
    if (token !== undefined) tokens.set(profile.name, token);
  }
  return tokens;
}

/** The profile's own token of `claude setup-token`; undefined if it uses none, or it cannot be read. */
function setupTokenOf(profile: Profile): string | undefined {
  if (setupTokenIn(profile.environment) === undefined) return undefined;
  try {
    return readVariable(profile, 'CLAUDE_CODE_OAUTH_TOKEN') || undefined;
  } catch {
    return undefined;
  }
}
