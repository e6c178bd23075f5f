/**
 * The time for SessionEnd hooks of a CLI process. The CLI itself allows 1.5 s, unless a variable
 * allows more, and ends the hooks together with itself.
 * Invariant: a process without such hooks is not waited for any longer than other processes.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { readSettingsFile } from './settings-in-force.ts';

/** The variable with the CLI's limit for all SessionEnd hooks, in milliseconds. */
export const sessionEndVariable = 'CLAUDE_CODE_SESSIONEND_HOOKS_TIMEOUT_MS';

/** Milliseconds: the maximum, and the default. */
export const longestSessionEnd = 30_000;

const settings = z.object({ hooks: z.object({ SessionEnd: z.array(z.unknown()).min(1) }) });

/**
 * Milliseconds after the end of input in which hooks may still run; 0 without SessionEnd hooks in
 * settings.json.
 */
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
