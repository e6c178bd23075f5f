/** What the records of sessions tell of a day's spending, for when the day's own record is lost. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { sessionsDirectory } from '../../shared/state-directory.ts';
import type { SessionStore } from './session-store.ts';

/** Looking at more would hold up the start. */
const mostSessions = 10_000;

/**
 * What the sessions that began on `day` have cost. What older ones cost on that day is not known.
 * @param day in UTC, `2026-01-31`
 */
export async function spentBySessions(
  stateDirectory: string,
  store: SessionStore,
  day: string,
): Promise<{ token: string; usd: number }[]> {
  const names = await readdir(join(stateDirectory, sessionsDirectory));
  const spent: { token: string; usd: number }[] = [];
  for (const name of names.slice(0, mostSessions)) {
    const record = await store.read(name.replace(/\.json$/, ''));
    if (!record?.created_at.startsWith(day) || !(record.cost_usd > 0)) continue;
    spent.push({ token: record.token, usd: record.cost_usd });
  }
  return spent;
}
