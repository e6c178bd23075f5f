/**
 * Kills the processes that a worker has left behind. The CLI starts each Bash command in a separate
 * session, so such commands survive the CLI and its process group when the CLI is killed, and
 * background commands survive even its clean end. All of them have inherited the worker's marks
 * (claude/environment.ts).
 * Invariant: the whole process group of such a process is killed. No fork escapes a signal to its
 * group; killed one by one, the processes of a fork bomb would multiply faster than they are found.
 */
import { pause } from '../../shared/waiting.ts';
import { environmentOf, groupOf, listProcesses, markEntries } from './process-table.ts';

/** Rounds, and milliseconds between them: a process takes a moment to end. */
const mostRounds = 100;
const interval = 10;

/** Kills processes and their groups, except this process and its own group. @param root of procfs */
export function killWithGroups(pids: readonly number[], root = '/proc'): void {
  const others = pids.filter((pid) => pid !== process.pid);
  const own = groupOf(root, process.pid);
  const groups = new Set(others.map((pid) => groupOf(root, pid)));
  for (const group of groups) if (group > 1 && group !== own) kill(-group);
  for (const pid of others) kill(pid);
}

/**
 * Kills every process whose environment has all of `marks`. Resolves when none is left, not even as a
 * zombie, which still counts for a pids limit; or after a hundred rounds, about a second.
 * @param root of procfs
 */
export async function killMarked(
  marks: Readonly<Record<string, string>>,
  root = '/proc',
): Promise<void> {
  const entries = markEntries(marks);
  await killAll((environment) => entries.every((entry) => environment.has(entry)), root);
}

/**
 * Kills the workers that an earlier process of berth has left behind, with all that these workers have started. Call it
 * with the lease on the volume, and before the first worker starts.
 * @param configDirectory of the CLI, which marks the workers of this volume
 * @param root of procfs
 */
export async function killLeftWorkers(configDirectory: string, root = '/proc'): Promise<void> {
  const [own = ''] = markEntries({ CLAUDE_CONFIG_DIR: configDirectory });
  const isWorker = (entry: string): boolean => entry.startsWith('BERTH_WORKER=');
  await killAll((environment) => environment.has(own) && [...environment].some(isWorker), root);
}

async function killAll(
  isMarked: (environment: ReadonlySet<string>) => boolean,
  root: string,
): Promise<void> {
  const killed = new Set<number>();
  for (let round = 0; round < mostRounds; round++) {
    const pids = listProcesses(root).map(Number);
    // The environment of a zombie is empty; that of another user's process cannot be read.
    const found = pids.filter((pid) => {
      if (pid === process.pid) return false;
      const environment = environmentOf(root, pid);
      return isMarked(environment);
    });
    if (found.length === 0 && !pids.some((pid) => killed.has(pid))) return;
    for (const pid of found) killed.add(pid);
    killWithGroups(found, root);
    await pause(interval);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // The process has already ended.
  }
}
