/**
 * The rules of settings.json that forbid. With a list of allowed tools of its own, a profile sets the
 * rules of settings.json aside as a whole; those that forbid are handed over beside it.
 * Always holds: what is on the volume can only forbid more, never allow.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { readSettingsFile } from '../claude/settings-in-force.ts';

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
    const { permissions } = settings.parse(
      JSON.parse(readSettingsFile(join(configDirectory, 'settings.json')) ?? '{}'),
    );
    return [...new Set([...(permissions?.deny ?? []), ...(permissions?.ask ?? [])])];
  } catch {
    return [];
  }
}
