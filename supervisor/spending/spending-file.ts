/**
 * The file in which a day's spending survives a restart.
 * Invariants: the content is bounded and parsed, because the CLI can write it too. A newer version
 * is neither used nor replaced. An unreadable file is set aside, not lost.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { isPassing, messageOf } from '../../shared/errors.ts';
import { readFileBounded, unreadable, writeFileAtomic } from '../../shared/files.ts';
import { onlyWhile } from '../../shared/lease-holding.ts';
import { openAside } from '../../shared/set-aside.ts';

const dollars = z.number().nonnegative().max(1e9);
const byName = z.record(z.string().max(128), dollars);

const file = z.object({
  version: z.literal(1),
  day: z.iso.date(),
  total_usd: dollars,
  tokens: byName,
  profiles: byName,
});

/** US dollars of one day in UTC. */
export type Spending = z.infer<typeof file>;

export type ReadSpending =
  | { kind: 'read'; spending: Spending }
  | { kind: 'absent' }
  | { kind: 'newer' }
  | { kind: 'damaged'; reason: string; saved: string | undefined };

/** In berth's state directory. */
const spendingFile = 'spending.json';
const limit = 1024 * 1024;

/** @throws BerthError `volume_unwritable` if the file cannot be read just now */
export async function readSpending(stateDirectory: string): Promise<ReadSpending> {
  const path = join(stateDirectory, spendingFile);
  try {
    const content = await readFileBounded(path, limit);
    if (content === undefined) return { kind: 'absent' };
    const found: unknown = JSON.parse(content.toString('utf8'));
    if (z.object({ version: z.number().gt(1) }).safeParse(found).success) return { kind: 'newer' };
    return { kind: 'read', spending: file.parse(found) };
  } catch (error) {
    if (isPassing(error)) throw unreadable(path, error);
    const aside = openAside(join(stateDirectory, 'conflicts'), 'state');
    const saved = await aside.save(path, spendingFile).catch(() => undefined);
    return { kind: 'damaged', reason: messageOf(error), saved };
  }
}

/**
 * @param mayWrite called just before the file appears: whether the volume is still this program's
 * @throws BerthError `volume_unwritable`, `lease_held`
 */
export function writeSpending(
  stateDirectory: string,
  spending: Spending,
  mayWrite: () => boolean,
): Promise<void> {
  const path = join(stateDirectory, spendingFile);
  return writeFileAtomic(path, JSON.stringify(spending), {
    mode: 0o600,
    beforeRename: onlyWhile(mayWrite),
  });
}
