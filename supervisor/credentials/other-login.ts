/** Whether settings.json brings a login of its own: then the CLI needs no login file. */
import { join } from 'node:path';
import { readFileBounded } from '../../shared/files.ts';

/** What makes the CLI use another login than its file, by itself or by where it leads. */
export const loginVariables = [
  'ANTHROPIC_API_KEY',
  'ANTHROPIC_AUTH_TOKEN',
  'CLAUDE_CODE_OAUTH_TOKEN',
  'CLAUDE_CODE_USE_BEDROCK',
  'CLAUDE_CODE_USE_VERTEX',
  'CLAUDE_CODE_USE_FOUNDRY',
];

/** The token of `claude setup-token`, if nothing goes before it. */
export function setupTokenIn(environment: Readonly<Record<string, string | undefined>>) {
  const { ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN, CLAUDE_CODE_OAUTH_TOKEN } = environment;
  return ANTHROPIC_API_KEY || ANTHROPIC_AUTH_TOKEN
    ? undefined
    : CLAUDE_CODE_OAUTH_TOKEN || undefined;
}

/** False if the file is missing or unreadable: then it brings nothing. */
export async function settingsBringLogin(configDirectory: string): Promise<boolean> {
  try {
    const content = await readFileBounded(join(configDirectory, 'settings.json'), 1024 ** 2);
    if (content === undefined) return false;
    const { apiKeyHelper, env } = JSON.parse(content.toString('utf8')) as Record<string, unknown>;
    if (typeof apiKeyHelper === 'string' && apiKeyHelper !== '') return true;
    if (typeof env !== 'object' || env === null) return false;
    return loginVariables.some((name) => Boolean((env as Record<string, unknown>)[name]));
  } catch {
    return false;
  }
}
