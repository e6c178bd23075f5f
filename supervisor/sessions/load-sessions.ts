/**
 * Loads the session records from the volume in the background: thousands of records take seconds,
 * and a record that a request needs earlier is read immediately.
 * Invariants: a working directory is removed only if every record was read and no record names it. If
 * the directory of records is lost, a working directory with content is kept.
 */
import type { Log } from '../../shared/log.ts';
import type { SessionStore } from './session-store.ts';
import type { WorkingDirectory, Workspaces } from './workspaces.ts';

export interface LoadOptions {
  store: SessionStore;
  workspaces: Workspaces;
  log: Log;
  signal: AbortSignal;
}

/**
 * Never rejects; logs the result.
 * @param directories the sessions' directories before the first worker started
 */
export async function loadSessions(
  options: LoadOptions,
  directories: readonly string[],
): Promise<void> {
  const { store, log, signal } = options;
  try {
    await load(options, directories);
  } catch (error) {
    if (signal.aborted) return;
    const text = `found ${store.size} sessions, but could not read them all`;
    log.error('sessions_loaded', text, { sessions: store.size, error });
  }
}

async function load(options: LoadOptions, directories: readonly string[]): Promise<void> {
  const { store, log, signal } = options;
  const { unreadable, directories: known } = await store.open(signal);
  // An unreadable record may name a directory: then no directory counts as unused.
  const orphans = unreadable > 0 ? 0 : await sweep(options, directories, known);
  const kept = known ? 0 : directories.length - orphans;
  const level = unreadable + kept > 0 ? 'warn' : 'info';
  const lost = `; the directory of session records is absent, so ${kept} working directories with content are kept: restore the records, or copy these directories, because a start with records removes them`;
  log[level]('sessions_loaded', `found ${store.size} sessions${kept > 0 ? lost : ''}`, {
    sessions: store.size,
    unreadable,
    directories_removed: orphans,
  });
}

async function sweep(
  { workspaces, log }: LoadOptions,
  directories: readonly string[],
  known: readonly WorkingDirectory[] | undefined,
): Promise<number> {
  try {
    return await workspaces.sweep(directories, known);
  } catch (error) {
    log.warn('retention_failed', 'cannot remove a directory that belongs to no session', { error });
    return 0;
  }
}
