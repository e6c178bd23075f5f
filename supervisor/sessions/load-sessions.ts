/**
 * What is on the volume of sessions, read behind the start: thousands of records take seconds, and one
 * that is asked for meanwhile is read by itself.
 * Always holds: a directory goes only if every record was read, and none of them names it.
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
 * Never rejects; says what it has found.
 * @param directories those of sessions, as they were before there was a worker
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
  // What cannot be read may name a directory: then none counts as nobody's.
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
    log.warn('retention_failed', "cannot remove a directory that is no session's", { error });
    return 0;
  }
}
