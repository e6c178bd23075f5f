/**
 * Determines the login of a profile's processes: for the limits of an account, and for the use of
 * the login file.
 */
import { createHash } from 'node:crypto';
import {
  bringsLogin,
  loginSecrets,
  providerSecrets,
  providers,
  setupTokenIn,
} from '../../shared/login-variables.ts';
import { readVariable } from './launch.ts';
import type { Profile } from './profile.ts';

/** The login of all profiles without a login of their own. */
export const commonLogin = 'default';

/** The name of a profile with its own login or another API; `default` for all others. */
export function loginOf({ name, environment }: Profile): string {
  const own = bringsLogin(environment) || Boolean(environment.ANTHROPIC_BASE_URL);
  return own ? `profile ${name}` : commonLogin;
}

/**
 * Whether a profile's processes use the login file. The result is cached, because each prompt needs
 * it; a profile object never changes.
 * @param inherited the variables that the processes get from the container
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

/** The variables that together select an account. */
const accountVariables = [...loginSecrets, ...providers, ...providerSecrets, 'ANTHROPIC_BASE_URL'];

/**
 * Compares the accounts of replicas: the result is equal if the same variables have the same values. It is a part of a
 * digest, and reveals no secret.
 * @param login as `loginOf` returns it
 * @returns undefined if the login is in the login file, which belongs to one replica, or cannot be read
 */
export function accountOf(
  login: string,
  profiles: readonly Profile[],
  inherited: Readonly<Record<string, string | undefined>>,
): string | undefined {
  const profile = profiles.find((each) => login !== commonLogin && loginOf(each) === login);
  if (!profile && login !== commonLogin) return undefined;
  try {
    const values = accountVariables.map(
      (name) => (profile && readVariable(profile, name)) ?? inherited[name] ?? '',
    );
    const named = Object.fromEntries(accountVariables.map((name, at) => [name, values[at]]));
    if (!bringsLogin(named)) return undefined;
    return createHash('sha256').update(JSON.stringify(values)).digest('hex').slice(0, 16);
  } catch {
    return undefined;
  }
}

/** The setup-tokens of profiles by profile name. */
export function setupTokensOf(profiles: readonly Profile[]): Map<string, string> {
  const tokens = new Map<string, string>();
  for (const profile of profiles) {
    const token = setupTokenOf(profile);
    if (token !== undefined) tokens.set(profile.name, token);
  }
  return tokens;
}

/** The profile's token of `claude setup-token`; undefined if there is none or it cannot be read. */
function setupTokenOf(profile: Profile): string | undefined {
  if (setupTokenIn(profile.environment) === undefined) return undefined;
  try {
    return readVariable(profile, 'CLAUDE_CODE_OAUTH_TOKEN') || undefined;
  } catch {
    return undefined;
  }
}
