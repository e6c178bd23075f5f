/**
 * The variables by which the CLI gets a login of its own, so that its file does not count. Where the CLI
 * finds several, the ones that are named first go before the others.
 */

/** Secrets themselves. */
export const loginSecrets = [
  'ANTHROPIC_API_KEY',
  'ANTHROPIC_AUTH_TOKEN',
  'CLAUDE_CODE_OAUTH_TOKEN',
];

/** Lead to another service, which has variables of its own. */
export const providers = [
  'CLAUDE_CODE_USE_BEDROCK',
  'CLAUDE_CODE_USE_VERTEX',
  'CLAUDE_CODE_USE_FOUNDRY',
  'CLAUDE_CODE_USE_MANTLE',
  'CLAUDE_CODE_USE_ANTHROPIC_AWS',
] as const;

/** What these services take for a secret. */
export const providerSecrets = [
  'ANTHROPIC_AWS_API_KEY',
  'ANTHROPIC_FOUNDRY_API_KEY',
  'ANTHROPIC_FOUNDRY_AUTH_TOKEN',
  'AWS_BEARER_TOKEN_BEDROCK',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
];

type Values = Readonly<Record<string, unknown>>;

/** The first that brings a login. A value that stands elsewhere counts, whatever it will be. */
export function loginVariable(values: Values): string | undefined {
  return (
    loginSecrets.find((name) => Boolean(values[name])) ??
    providers.find((name) => asksFor(values, name))
  );
}

/** Whether one of them brings a login. */
export function bringsLogin(values: Values): boolean {
  return loginVariable(values) !== undefined;
}

/** Whether the CLI is told to use that service. */
export function asksFor(values: Values, provider: (typeof providers)[number]): boolean {
  const value = values[provider];
  return typeof value === 'string' ? /^(1|true|yes|on)$/i.test(value.trim()) : Boolean(value);
}

/** The token of `claude setup-token`, or whatever stands for it, if nothing goes before it. */
export function setupTokenIn<T>(values: Readonly<Record<string, T>>): T | undefined {
  const { ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN, CLAUDE_CODE_OAUTH_TOKEN } = values;
  if (ANTHROPIC_API_KEY || ANTHROPIC_AUTH_TOKEN) return undefined;
  if (providers.some((name) => asksFor(values, name))) return undefined;
  return CLAUDE_CODE_OAUTH_TOKEN || undefined;
}
