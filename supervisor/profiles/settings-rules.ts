/**
 * The rules of settings.json that forbid. With a list of allowed tools of its own, a profile sets the
 * rules of settings.json aside as a whole; those that forbid are handed over beside it.
 * Always holds: what is on the volume can only forbid more, never allow.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { readFileBounded } from '../../shared/files.ts';

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
export async function readForbidding(configDirectory: string): Promise<string[]> {
  try {
    const content = await readFileBounded(join(configDirectory, 'settings.json'), largestFile);
    if (!content) return [];
    const { permissions } = settings.parse(JSON.parse(content.toString('utf8')));
    return [...new Set([...(permissions?.deny ?? []), ...(permissions?.ask ?? [])])];
  } catch {
    return [];
  }
}
