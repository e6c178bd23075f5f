/**
 * Time for the SessionEnd hooks of a CLI process. The CLI itself gives them 1.5 s, unless a variable says
 * more, and ends the hooks with itself.
 * Always holds: a process without such hooks is not waited for any longer than others.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { readSettingsFile } from './settings-in-force.ts';

/** By which the CLI takes milliseconds for all of them. */
export const sessionEndVariable = 'CLAUDE_CODE_SESSIONEND_HOOKS_TIMEOUT_MS';

/** Milliseconds at most, and by default. */
export const longestSessionEnd = 30_000;

const settings = z.object({ hooks: z.object({ SessionEnd: z.array(z.unknown()).min(1) }) });

/** Milliseconds after the end of input in which its hooks may still run; 0 without any in settings.json. */
export function sessionEndTime(
  configDirectory: string,
  environment: Readonly<Record<string, string>>,
): number {
  const own = Number(environment[sessionEndVariable]);
  return hasHooks(configDirectory) ? Math.min(longestSessionEnd, own > 0 ? own : 0) : 0;
}

function hasHooks(configDirectory: string): boolean {
  try {
    const text = readSettingsFile(join(configDirectory, 'settings.json'));
    return text !== undefined && settings.safeParse(JSON.parse(text)).success;
  } catch {
    return false;
  }
}
