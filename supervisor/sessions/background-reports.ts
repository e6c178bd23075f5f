/**
 * Reports of background work: kept with the session until the next answer, which contains them.
 * Invariant: the reports are few and bounded; the newest are kept.
 */
import type { BackgroundTask } from '../claude/background.ts';
import type { TurnResult } from '../claude/turn-result.ts';
import { type BackgroundReport, mostReportBytes, type SessionRecord } from './session-record.ts';

const mostReports = 10;
/** The maximum length of a report, in characters. */
export const longestReport = 16 * 1024;

interface Store {
  peek(id: string): SessionRecord | undefined;
  note(record: SessionRecord): void;
}

/** Keeps the output of the CLI in a turn without a prompt. */
export function keepReport(store: Store, { sessionId, result, isError }: TurnResult): void {
  keep(store, sessionId, result, isError);
}

/** Work in the background that ended with its process. */
export interface EndedWork {
  sessionId: string;
  tasks: readonly BackgroundTask[];
  /** Why the process ended. */
  reason: string;
}

/** Keeps a report of work that will not report itself. */
export function keepEndOf(store: Store, { sessionId, tasks, reason }: EndedWork): void {
  // The session itself goes.
  if (reason === 'removed') return;
  const why = causes[reason] ?? `its process was ended (${reason})`;
  keep(store, sessionId, `work in the background was ended: ${listed(tasks)}; ${why}`, true);
}

const causes: Readonly<Record<string, string>> = {
  renewed: 'the next prompt needed a process with other settings',
  idle: 'it took longer than limits.background of the profile allows',
  place: 'it took longer than limits.background of the profile allows',
  unprompted:
    'nothing may run without a prompt: a pause, a budget, a usage limit or a revoked token',
  stopping: 'the server stopped',
  crashed: 'its process ended by itself',
};

function keep(store: Store, sessionId: string, result: string, is_error: boolean): void {
  const record = store.peek(sessionId);
  if (!record || result === '') return;
  const report = { at: new Date().toISOString(), result: result.slice(0, longestReport), is_error };
  const background = [...(record.background ?? []), report].slice(-mostReports);
  store.note({ ...record, background: withinBound(background) });
}

/** A record is a small file: older reports are dropped first, and then the end of the newest. */
function withinBound(reports: readonly BackgroundReport[]): BackgroundReport[] {
  const kept = [...reports];
  while (bytesOf(kept) > mostReportBytes && kept.length > 1) kept.shift();
  while (bytesOf(kept) > mostReportBytes) {
    const [last] = kept as [BackgroundReport];
    kept[0] = { ...last, result: last.result.slice(0, Math.floor(last.result.length / 2)) };
  }
  return kept;
}

function bytesOf(reports: readonly BackgroundReport[]): number {
  return Buffer.byteLength(JSON.stringify(reports));
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
  return [
    `work continues in the background: ${listed(tasks)}; its report comes with the next answer of this session, and after ${Math.round(kept / 1_000)} s without a prompt its process may be ended (limits.background of the profile)`,
  ];
}

function listed(tasks: readonly BackgroundTask[]): string {
  const named = tasks
    .slice(0, 5)
    .map(({ description }) => JSON.stringify(description.slice(0, 80)));
  const more = tasks.length > named.length ? ` and ${tasks.length - named.length} more` : '';
  return `${named.join(', ')}${more}`;
}
