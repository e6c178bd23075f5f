/**
 * Reports of work in the background: kept with the session until its next answer, which gives them.
 * Always holds: few and bounded, the newest ones.
 */
import type { BackgroundTask } from '../claude/background.ts';
import type { TurnResult } from '../claude/turn-result.ts';
import type { BackgroundReport, SessionRecord } from './session-record.ts';

export const mostReports = 10;
/** Characters of each. */
export const longestReport = 16 * 1024;

interface Store {
  peek(id: string): SessionRecord | undefined;
  note(record: SessionRecord): void;
}

/** Keeps what the CLI has said in a turn that nobody prompted for. */
export function keepReport(store: Store, { sessionId, result, isError }: TurnResult): void {
  const record = store.peek(sessionId);
  if (!record || result === '') return;
  const at = new Date().toISOString();
  const report = { at, result: result.slice(0, longestReport), is_error: isError };
  const background = [...(record.background ?? []), report].slice(-mostReports);
  store.note({ ...record, background });
}

/** Takes the reports of a session out of its record. */
export function takeReports(store: Store, sessionId: string): BackgroundReport[] {
  const record = store.peek(sessionId);
  if (!record?.background?.length) return [];
  const { background, ...rest } = record;
  store.note(rest);
  return background;
}

/** What an answer warns of that leaves work running. @param kept milliseconds that it may go on */
export function runningWarning(tasks: readonly BackgroundTask[], kept: number): string[] {
  if (tasks.length === 0) return [];
  const named = tasks
    .slice(0, 5)
    .map(({ description }) => JSON.stringify(description.slice(0, 80)));
  const more = tasks.length > named.length ? ` and ${tasks.length - named.length} more` : '';
  return [
    `work goes on in the background: ${named.join(', ')}${more}; its report comes with the next answer of this session, and after ${Math.round(kept / 1_000)} s without a prompt its process may be ended (limits.background of the profile)`,
  ];
}
