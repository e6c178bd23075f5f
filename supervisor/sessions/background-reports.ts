/**
 * Reports of background work: kept with the session until the next answer, which contains them.
 * Invariant: the reports are few and bounded; the newest are kept.
 */
import type { BackgroundTask } from '../claude/background.ts';
import type { TurnResult } from '../claude/turn-result.ts';
import type { BackgroundReport, SessionRecord } from './session-record.ts';

export const mostReports = 10;
/** The maximum length of a report, in characters. */
export const longestReport = 16 * 1024;

interface Store {
  peek(id: string): SessionRecord | undefined;
  note(record: SessionRecord): void;
}

/** Keeps the output of the CLI in a turn without a prompt. */
export function keepReport(store: Store, { sessionId, result, isError }: TurnResult): void {
  const record = store.peek(sessionId);
  if (!record || result === '') return;
  const at = new Date().toISOString();
  const report = { at, result: result.slice(0, longestReport), is_error: isError };
  const background = [...(record.background ?? []), report].slice(-mostReports);
  store.note({ ...record, background });
}

/** Removes the reports of a session from its record and returns them. */
export function takeReports(store: Store, sessionId: string): BackgroundReport[] {
  const record = store.peek(sessionId);
  if (!record?.background?.length) return [];
  const { background, ...rest } = record;
  store.note(rest);
  return background;
}

/**
 * The warning of an answer that leaves work running. @param kept milliseconds for which the work
 * may continue
 */
export function runningWarning(tasks: readonly BackgroundTask[], kept: number): string[] {
  if (tasks.length === 0) return [];
  const named = tasks
    .slice(0, 5)
    .map(({ description }) => JSON.stringify(description.slice(0, 80)));
  const more = tasks.length > named.length ? ` and ${tasks.length - named.length} more` : '';
  return [
    `work continues in the background: ${named.join(', ')}${more}; its report comes with the next answer of this session, and after ${Math.round(kept / 1_000)} s without a prompt its process may be ended (limits.background of the profile)`,
  ];
}
