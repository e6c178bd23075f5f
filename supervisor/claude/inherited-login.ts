/**
 * Decides which variables of the container's login a CLI process gets.
 * Invariants: a process whose profile has a login gets none of the container's login, which would
 * have precedence and which its tools could read. The variables of a cloud are passed only to
 * processes that use that cloud.
 */
import type { Environment } from '../../shared/config.ts';
import {
  bringsLogin,
  loginSecrets,
  providers,
  selectsProvider,
} from '../../shared/login-variables.ts';

/** The variables with which the CLI and its libraries reach each service. */
const clouds = [
  {
    providers: [
      'CLAUDE_CODE_USE_BEDROCK',
      'CLAUDE_CODE_USE_MANTLE',
      'CLAUDE_CODE_USE_ANTHROPIC_AWS',
    ],
    own: /^(AWS_|ANTHROPIC_AWS_API_KEY$)/,
  },
  { providers: ['CLAUDE_CODE_USE_VERTEX'], own: /^(GOOGLE_|GCLOUD_|CLOUD_ML_|VERTEX_)/ },
  {
    providers: ['CLAUDE_CODE_USE_FOUNDRY'],
    own: /^(AZURE_|ANTHROPIC_FOUNDRY_(API_KEY|AUTH_TOKEN)$)/,
  },
] as const;

/** Variables that locate the cloud, and do not identify the caller. */
const place = /REGION|LOCATION|PROJECT/;

/** @returns whether a variable is passed; undefined if the variable is not part of a login */
export function inheritedLogin(
  inherited: Environment,
  profile: Readonly<Record<string, string>>,
): (name: string) => boolean | undefined {
  const own = bringsLogin(profile);
  const used = { ...(own ? {} : inherited), ...profile };
  const passed = clouds.map(({ providers: switches, own: pattern }) => {
    const named = Object.keys(profile).some((name) => pattern.test(name) && !place.test(name));
    return {
      pattern,
      pass: switches.some((provider) => selectsProvider(used, provider)) && !named,
    };
  });
  return (name) => {
    if ([...loginSecrets, ...providers].includes(name)) return !own;
    const cloud = passed.find(({ pattern }) => pattern.test(name));
    return cloud?.pass;
  };
}
