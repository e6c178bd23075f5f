/** Derives a day's spending from the session records, if the day's own record is lost. */
import type { SessionRecord } from '../sessions/session-record.ts';

/**
 * The cost of the sessions that began on `day`. The cost of older sessions on that day is unknown.
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
