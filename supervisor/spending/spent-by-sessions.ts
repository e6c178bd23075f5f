/** What the records of sessions tell of a day's spending, for when the day's own record is lost. */
import type { SessionRecord } from '../sessions/session-record.ts';

/**
 * What the sessions that began on `day` have cost. What older ones cost on that day is not known.
 * @param day in UTC, `2026-01-31`
 */
export function spentBySessions(
  records: Iterable<SessionRecord>,
  day: string,
): { token: string; usd: number }[] {
  return [...records]
    .filter(({ created_at, cost_usd }) => created_at.startsWith(day) && cost_usd > 0)
    .map(({ token, cost_usd: usd }) => ({ token, usd }));
}
