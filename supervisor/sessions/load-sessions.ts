/**
 * Loads the session records from the volume in the background: thousands of records take seconds,
 * and a record that a request needs earlier is read immediately.
 * Invariant: a working directory is removed only if every record was read and no record names it.
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
  const unreadable = await store.open(signal);
  const known: WorkingDirectory[] = [];
  if (directories.length > 0) {
    for await (const { working_directory } of store.all()) {
      signal.throwIfAborted();
      known.push(working_directory);
    }
  }
  // An unreadable record may name a directory: then no directory counts as unused.
  const orphans = unreadable > 0 ? 0 : await sweep(options, directories, known);
  const level = unreadable > 0 ? 'warn' : 'info';
  log[level]('sessions_loaded', `found ${store.size} sessions`, {
    sessions: store.size,
    unreadable,
    directories_removed: orphans,
  });
}

async function sweep(
  { workspaces, log }: LoadOptions,
  directories: readonly string[],
  known: readonly WorkingDirectory[],
): Promise<number> {
  try {
    return await workspaces.sweep(directories, known);
  } catch (error) {
    log.warn('retention_failed', 'cannot remove a directory that belongs to no session', { error });
    return 0;
  }
}
