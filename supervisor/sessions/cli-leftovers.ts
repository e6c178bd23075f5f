/**
 * Removes files that the CLI leaves behind when it is killed, or always, and does not remove soon
 * enough for a volume that is used for years. As seen with the CLI 2.1.330:
 *   sessions/<pid>.json, sessions/<pid>.<key>.key   of killed processes
 *   shell-snapshots/snapshot-*.sh                   of processes that were killed while they had a shell
 *   .claude.json.tmp.<pid>.<hex>, .credentials.json.tmp.<hex>   of interrupted writes
 *   session-env/<id>/, file-history/<id>/, tasks/<id>/          of sessions without a transcript
 *   $TMPDIR/claude-<uid>/fswatch-probe-*            one for each process that was killed at its start
 *   $TMPDIR/cc-socks/<pid>.sock                     of killed processes
 * Invariants: only files older than `age` are removed, and a bounded number in each round. No symlink
 * is followed. Files with other names, the login and `.claude.json` are never touched.
 */
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTree } from '../../shared/remove-tree.ts';

export interface LeftoversOptions {
  configDirectory: string;
  temporaryDirectory: string;
  /** Whether the CLI has a transcript of that session, by its id in lower case. */
  hasTranscript: (id: string) => boolean;
  /** Milliseconds since 1970. */
  now: number;
  signal: AbortSignal;
}

const hour = 3_600_000;
/**
 * A worker lives for hours, not for weeks: idle workers are recycled, busy workers end with their
 * turn.
 */
const age = 7 * 24 * hour;
const mostInRound = 5_000;

const id = '[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}';

/** @returns how many were removed */
export async function removeLeftovers(options: LeftoversOptions): Promise<number> {
  const { configDirectory, temporaryDirectory, hasTranscript } = options;
  const uid = process.getuid?.() ?? 0;
  const dead = (name: string): boolean => !isAlive(Number(name.split('.')[0]));
  const forgotten = (name: string): boolean => !hasTranscript(name.toLowerCase());
  const places: [string, RegExp, (name: string) => boolean][] = [
    [join(configDirectory, 'sessions'), /^\d+\.(json|[0-9a-f]{64}\.key)$/, dead],
    [join(configDirectory, 'shell-snapshots'), /^snapshot-[\w-]+\.sh$/, () => true],
    [configDirectory, /^\.(claude|credentials)\.json\.tmp\.[0-9a-f.]+$/, () => true],
    ...['session-env', 'file-history', 'tasks'].map((place): [string, RegExp, typeof forgotten] => [
      join(configDirectory, place),
      new RegExp(`^${id}$`),
      forgotten,
    ]),
    [join(temporaryDirectory, `claude-${uid}`), /^fswatch-probe-\w+$/, () => true],
    [join(temporaryDirectory, 'cc-socks'), /^\d+\.sock$/, dead],
  ];
  let removed = 0;
  for (const [place, pattern, isLeft] of places) {
    for (const name of await namesIn(place)) {
      options.signal.throwIfAborted();
      if (removed >= mostInRound) return removed;
      if (!pattern.test(name) || !isLeft(name)) continue;
      const path = join(place, name);
      const found = await lstat(path).catch(() => undefined);
      if (!found || found.mtimeMs > options.now - age) continue;
      // A file that cannot be removed now is tried again in a later round.
      await removeTree(path).then(
        () => (removed += 1),
        () => undefined,
      );
    }
  }
  return removed;
}

async function namesIn(directory: string): Promise<string[]> {
  const found = await lstat(directory).catch(() => undefined);
  return found?.isDirectory() ? readdir(directory).catch(() => []) : [];
}

/**
 * Only processes of this pid namespace; a process of another container counts as ended, and the age
 * decides.
 */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
