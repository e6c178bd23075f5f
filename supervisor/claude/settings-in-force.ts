/**
 * Reads from a CLI process which of its settings it ignores.
 * Invariant: only files and locations are named, never a value.
 *
 * `get_settings` reads the files again. `errors` names the files that are ignored completely. A
 * single ignored rule or hook has no error, but is missing among the settings of its source.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { isObject, settingsProblems, textOfSettings } from '../../shared/cli-settings.ts';
import { systemCode } from '../../shared/errors.ts';
import type { SettingsProblem } from '../../shared/settings-problem.ts';
import type { ClaudeProcess } from './process.ts';

export interface IgnoredSettings extends SettingsProblem {
  file: string;
}

const answer = z.object({
  sources: z.array(z.object({ source: z.string(), settings: z.unknown() })).catch([]),
  errors: z
    .array(
      z.object({
        file: z.string().max(4_096).catch('a settings file'),
        path: z.string().max(500).catch(''),
        message: z.string().catch('it is not valid'),
      }),
    )
    .catch([]),
});

const largestFile = 1024 * 1024;
const longestMessage = 300;

/** @throws BerthError `cli_unavailable` if the process ends or does not support the request */
export async function ignoredSettings(
  process: Pick<ClaudeProcess, 'control'>,
  configDirectory: string,
): Promise<IgnoredSettings[]> {
  const file = join(configDirectory, 'settings.json');
  const read = readSettingsFile(file);
  const { sources, errors } = answer.parse(await process.control({ subtype: 'get_settings' }));
  if (errors.length > 0) {
    // For a file that is not JSON the CLI reports no details.
    const own = settingsProblems(Buffer.from(read ?? '')).find(({ path }) => path === '')?.message;
    return errors.map(({ message, ...rest }) => ({
      ...rest,
      message: (rest.path === '' && rest.file === file && own) || message.slice(0, longestMessage),
      loses: 'all',
    }));
  }
  if (read === undefined) return [];
  const lost = (path: string, message: string): IgnoredSettings => ({
    file,
    path,
    message,
    loses: 'guard',
  });
  if (read.trim() === '') return [{ ...lost('', 'it is empty'), loses: 'all' }];
  const given: unknown = JSON.parse(read);
  const user = sources.find(({ source }) => source === 'userSettings')?.settings;
  return [
    ...missingRules(given, user).map((path) => lost(path, 'the CLI ignores this rule')),
    ...missingHooks(given, user).map((path) => lost(path, 'the CLI ignores this hook')),
  ];
}

function missingRules(given: unknown, inForce: unknown): string[] {
  return ['deny', 'ask'].flatMap((key) => {
    const rules = at(given, 'permissions', key);
    const used = at(inForce, 'permissions', key);
    if (!Array.isArray(rules)) return [];
    return rules.flatMap((rule, index) =>
      Array.isArray(used) && used.includes(rule) ? [] : [`permissions.${key}.${index}`],
    );
  });
}

function missingHooks(given: unknown, inForce: unknown): string[] {
  const hooks = at(given, 'hooks');
  if (hooks === undefined || (Array.isArray(hooks) && hooks.length === 0)) return [];
  if (!isObject(hooks)) return ['hooks'];
  return Object.entries(hooks).flatMap(([event, matchers]) => {
    const path = `hooks.${event}`;
    if (!Array.isArray(matchers)) return [path];
    const used = at(inForce, 'hooks', event);
    return countHooks(used) < countHooks(matchers) ? [path] : [];
  });
}

function countHooks(matchers: unknown): number {
  if (!Array.isArray(matchers)) return 0;
  const counts = matchers.map((entry) => {
    const hooks = at(entry, 'hooks');
    // A matcher without a list is broken, but still counts as a hook.
    return Array.isArray(hooks) ? hooks.length : 1;
  });
  return counts.reduce((sum, count) => sum + count, 0);
}

function at(value: unknown, ...keys: string[]): unknown {
  return keys.reduce<unknown>((found, key) => (isObject(found) ? found[key] : undefined), value);
}

/**
 * The text of a settings.json, read synchronously like the start of a process. A planted FIFO or
 * symlink is not read.
 * @returns undefined if there is no file, or berth cannot read it
 */
export function readSettingsFile(path: string): string | undefined {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  let file: number;
  try {
    file = openSync(path, flags);
  } catch (error) {
    if (['ENOENT', 'ELOOP', 'ENXIO'].includes(systemCode(error) ?? '')) return undefined;
    throw error;
  }
  try {
    const status = fstatSync(file);
    if (!status.isFile() || status.size > largestFile) return undefined;
    return textOfSettings(readFileSync(file));
  } finally {
    closeSync(file);
  }
}
