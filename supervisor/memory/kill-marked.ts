/**
 * What a worker has left behind. The CLI gives each Bash command a session of its own, so when it is
 * killed they outlive it and its process group, and those in the background outlive even its clean
 * end. They are found by what all of them inherited (claude/environment.ts).
 * Always holds: a process group in which one of them is goes as a whole, for no fork escapes a signal
 * to its group: one by one a fork bomb would be born again faster than it is found.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { environmentOf, groupOf, listProcesses } from './process-table.ts';

/** Rounds of looking and killing, and milliseconds between them: dying takes a moment. */
const mostRounds = 100;
const pause = 10;

/** Kills processes that were seen below a worker, whatever their environment is by now. */
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
 * Kills every process whose environment has all of `marks`; returns when none is left, not even as a
 * zombie, which still counts for a pids limit, or after a hundred looks, a second and more.
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
    // Ours is no worker's.
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
    // A zombie's is empty, and that of somebody else's process cannot be read.
    const environment = environmentOf(root, pid);
    return wanted.every((entry) => environment.has(entry));
  });
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}
