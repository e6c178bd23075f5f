/** Whether settings.json brings a login of its own: then the CLI needs no login file. */
import { join } from 'node:path';
import { readFileBounded } from '../../shared/files.ts';
import { bringsLogin } from '../../shared/login-variables.ts';

/** False if the file is missing or unreadable: then it brings nothing. */
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
