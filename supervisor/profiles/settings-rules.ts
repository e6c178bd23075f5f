/**
 * The restrictive rules of settings.json. A profile with its own list of allowed tools disables all
 * rules of settings.json; the restrictive rules are passed beside that list.
 * Invariant: files on the volume can only restrict further, never allow.
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
 * `deny` and `ask` of settings.json: a service has no person to confirm. Empty if there is no file,
 * or the CLI would ignore it too.
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
