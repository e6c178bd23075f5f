/**
 * The rules of settings.json that forbid. With a list of allowed tools of its own, a profile sets the
 * rules of settings.json aside as a whole; those that forbid are handed over beside it.
 * Always holds: what is on the volume can only forbid more, never allow.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const largestFile = 1024 * 1024;
const most = 500;

const rules = z
  .array(z.unknown())
  .catch([])
  .transform((all) =>
    all
      .filter((rule) => typeof rule === 'string')
      .filter((rule) => rule !== '' && rule.length <= 1_000 && !/[\0\n]/.test(rule))
      .slice(0, most),
  );

const settings = z.object({
  permissions: z
    .object({ deny: rules.optional(), ask: rules.optional() })
    .optional()
    .catch(undefined),
});

/**
 * `deny` and `ask` of settings.json: nobody is there to be asked. None if there is no such file, or
 * one that the CLI would ignore too.
 */
export function readForbidding(configDirectory: string): string[] {
  try {
    const { permissions } = settings.parse(JSON.parse(readText(configDirectory)));
    return [...new Set([...(permissions?.deny ?? []), ...(permissions?.ask ?? [])])];
  } catch {
    return [];
  }
}

/** At once, for so is a process started. A planted FIFO or symlink is no settings.json. */
function readText(configDirectory: string): string {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = openSync(join(configDirectory, 'settings.json'), flags);
  try {
    const status = fstatSync(file);
    if (!status.isFile() || status.size > largestFile) throw new Error('it is no settings.json');
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}
