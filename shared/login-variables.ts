/**
 * The variables that give the CLI a login, in the environment or in settings.json, so that its
 * login file is not used. If there are several, the first of the list has priority.
 */
import { join } from 'node:path';
import { readFileBounded } from './files.ts';

/** Variables that are secrets. */
export const loginSecrets = [
  'ANTHROPIC_API_KEY',
  'ANTHROPIC_AUTH_TOKEN',
  'CLAUDE_CODE_OAUTH_TOKEN',
];

/** Variables that select another service with separate credentials. */
export const providers = [
  'CLAUDE_CODE_USE_BEDROCK',
  'CLAUDE_CODE_USE_VERTEX',
  'CLAUDE_CODE_USE_FOUNDRY',
  'CLAUDE_CODE_USE_MANTLE',
  'CLAUDE_CODE_USE_ANTHROPIC_AWS',
] as const;

/** Secrets of these services. */
export const providerSecrets = [
  'ANTHROPIC_AWS_API_KEY',
  'ANTHROPIC_FOUNDRY_API_KEY',
  'ANTHROPIC_FOUNDRY_AUTH_TOKEN',
  'AWS_BEARER_TOKEN_BEDROCK',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
];

type Values = Readonly<Record<string, unknown>>;

/**
 * The first variable that provides a login. A value that comes from another source counts, whatever
 * it is.
 */
export function loginVariable(values: Values): string | undefined {
  return (
    loginSecrets.find((name) => Boolean(values[name])) ??
    providers.find((name) => selectsProvider(values, name))
  );
}

/** Whether one of the variables provides a login. */
export function bringsLogin(values: Values): boolean {
  return loginVariable(values) !== undefined;
}

/** Whether the variables make the CLI use this service. */
export function selectsProvider(values: Values, provider: (typeof providers)[number]): boolean {
  const value = values[provider];
  return typeof value === 'string' ? /^(1|true|yes|on)$/i.test(value.trim()) : Boolean(value);
}

/** The token of `claude setup-token`, or its reference, unless another login has precedence. */
export function setupTokenIn<T>(values: Readonly<Record<string, T>>): T | undefined {
  const { ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN, CLAUDE_CODE_OAUTH_TOKEN } = values;
  if (ANTHROPIC_API_KEY || ANTHROPIC_AUTH_TOKEN) return undefined;
  if (providers.some((name) => selectsProvider(values, name))) return undefined;
  return CLAUDE_CODE_OAUTH_TOKEN || undefined;
}

/** Whether settings.json provides a login. False if it is missing or cannot be read. */
export async function settingsBringLogin(configDirectory: string): Promise<boolean> {
  try {
    const content = await readFileBounded(join(configDirectory, 'settings.json'), 1024 ** 2);
    if (content === undefined) return false;
    const { apiKeyHelper, env } = JSON.parse(content.toString('utf8')) as Record<string, unknown>;
    if (typeof apiKeyHelper === 'string' && apiKeyHelper !== '') return true;
    return typeof env === 'object' && env !== null && bringsLogin(env as Record<string, unknown>);
  } catch {
    return false;
  }
}
