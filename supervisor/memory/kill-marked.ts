/**
 * Kills the processes that a worker left behind. The CLI gives each Bash command a session of its
 * own. These processes survive a killed CLI and its process group, and background processes even
 * survive a clean exit. They are found by environment variables that all of them inherit
 * (claude/environment.ts).
 * Invariant: a process group with one such process is killed as a whole, because no fork escapes a
 * signal to its group. Killed one by one, a fork bomb would grow faster than its processes are
 * found.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { environmentOf, groupOf, listProcesses } from './process-table.ts';

/** The number of rounds, and milliseconds between them: dying takes a moment. */
const mostRounds = 100;
const pause = 10;

/** Kills processes that were seen below a worker, whatever their environment is now. */
export function killSeen(pids: readonly number[], root = '/proc'): void {
  const own = groupOf(root, process.pid);
  for (const pid of pids) {
    if (pid === process.pid) continue;
    const group = groupOf(root, pid);
    if (group > 1 && group !== own) kill(-group);
    kill(pid);
  }
}

/**
 * Kills every process whose environment has all of `marks`. Returns when none is left, not even as
 * a zombie, which still counts for a pids limit, or after a hundred rounds (over a second).
 * @param root where procfs is mounted
 */
export async function killMarked(
  marks: Readonly<Record<string, string>>,
  root = '/proc',
): Promise<void> {
  const own = groupOf(root, process.pid);
  const killed = new Set<number>();
  for (let round = 0; round < mostRounds; round++) {
    const pids = listProcesses(root).map(Number);
    const found = findMarked(marks, root, pids);
    if (found.length === 0 && !pids.some((pid) => killed.has(pid))) return;
    for (const pid of found) killed.add(pid);
    const groups = new Set(found.map((pid) => groupOf(root, pid)));
    // The supervisor's own group belongs to no worker.
    for (const group of groups) if (group > 1 && group !== own) kill(-group);
    for (const pid of found) kill(pid);
    await delay(pause);
  }
}

function findMarked(
  marks: Readonly<Record<string, string>>,
  root: string,
  pids: readonly number[],
): number[] {
  const wanted = Object.entries(marks).map(([name, value]) => `${name}=${value}`);
  return pids.filter((pid) => {
    if (pid === process.pid) return false;
    // The environment of a zombie is empty, and that of another user's process is unreadable.
    const environment = environmentOf(root, pid);
    return wanted.every((entry) => environment.has(entry));
  });
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // The process has already ended.
  }
}
