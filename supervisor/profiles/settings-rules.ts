/**
 * The restrictive rules of settings.json. A profile with its own list of allowed tools disables all
 * rules of settings.json; the restrictive rules are passed beside that list.
 * Invariants: files on the volume can only restrict further, never allow. No rule is lost silently: what berth cannot read
 * or pass on is an error.
 */
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { BerthError, messageOf } from '../../shared/errors.ts';
import { readSettingsFile } from '../claude/settings-in-force.ts';

const most = 500;
/** Characters of a rule. */
const longest = 1_000;

const rules = z
  .array(z.unknown())
  .catch([])
  .transform((all) =>
    all
      .filter((rule) => typeof rule === 'string')
      .filter((rule) => rule !== '' && !/[\0\n]/.test(rule)),
  );

const settings = z.object({
  permissions: z
    .object({ deny: rules.optional(), ask: rules.optional() })
    .optional()
    .catch(undefined),
});

/**
 * `deny` and `ask` of settings.json: a service has no person to confirm. Empty if there is no file,
 * or the CLI would ignore it too.
 * @throws BerthError `cli_unavailable` if the file cannot be read, or has more or longer rules than can be passed on
 */
export function readForbidding(configDirectory: string): string[] {
  const path = join(configDirectory, 'settings.json');
  const { permissions } = settingsOf(textAt(path));
  const found = [...new Set([...(permissions?.deny ?? []), ...(permissions?.ask ?? [])])];
  if (found.length > most) throw unusable(path, `it has more than ${most} deny and ask rules`);
  if (found.some((rule) => rule.length > longest)) {
    throw unusable(path, `it has a deny or ask rule of more than ${longest} characters`);
  }
  return found;
}

function textAt(path: string): string {
  let text: string | undefined;
  try {
    text = readSettingsFile(path);
    if (text === undefined && !lstatSync(path, { throwIfNoEntry: false })?.isFile()) return '{}';
  } catch (error) {
    throw unusable(path, messageOf(error));
  }
  if (text === undefined) throw unusable(path, 'it is too large');
  return text;
}

function settingsOf(text: string): z.output<typeof settings> {
  try {
    return settings.parse(JSON.parse(text));
  } catch {
    return {};
  }
}

function unusable(path: string, cause: string): BerthError {
  return new BerthError(
    'cli_unavailable',
    `cannot start a worker: the deny rules of ${path} cannot be passed to the CLI (${cause}), and the profile disables the file's own rules; correct the file, or remove tools.allow from the profile`,
  );
}
