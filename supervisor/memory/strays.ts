/**
 * Kills hidden leftovers of a worker: processes with a clean environment and a session of their own
 * (`env -i setsid`). When their parents end, the container's init adopts them.
 * Invariants: nothing is killed outside a container of berth's own, such as on a developer's
 * machine or in a pod with a shared process namespace; there process 1 is not the init of a
 * container, or not berth's parent. No process is killed that a living worker may have started.
 */
import { readFileSync, statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { groupOf, type ProcessEntry, readProcesses } from './process-table.ts';

/** Programs that run as process 1 of a container only. */
const inits: ReadonlySet<string> = new Set([
  'tini',
  'tini-static',
  'docker-init',
  'catatonit',
  'dumb-init',
]);

const mostProcesses = 4_000;
/** The number of rounds, and milliseconds between them: children of killed processes follow. */
const mostRounds = 50;
const pause = 20;

/**
 * Kills the orphans of ended workers. Returns when none is left, or after more than a second.
 * @param living the CLIs that live
 */
export async function killStrays(living: readonly number[], root = '/proc'): Promise<void> {
  for (let round = 0; round < mostRounds; round++) {
    const strays = findStrays(readProcesses(root, 4_096, mostProcesses), living, root);
    if (strays.length === 0) return;
    const own = groupOf(root, process.pid);
    for (const pid of strays) {
      const group = groupOf(root, pid);
      if (group > 1 && group !== own) kill(-group);
      kill(pid);
    }
    await delay(pause);
  }
}

/**
 * The orphans of this user that began after this program and before the CLI of every living worker.
 * @param processes by pid
 */
export function findStrays(
  processes: ReadonlyMap<number, ProcessEntry>,
  living: readonly number[],
  root: string,
): number[] {
  const self = processes.get(process.pid);
  if (self?.parent !== 1 || !inits.has(nameOf(root, 1))) return [];
  const began = Number(self.started);
  const workers = living.map((pid) => Number(processes.get(pid)?.started ?? 0));
  const oldest = Math.min(Number.POSITIVE_INFINITY, ...workers);
  return [...processes.values()]
    .filter(({ pid, parent, started, zombie }) => {
      const isOrphan = parent === 1 && pid !== process.pid && !zombie;
      return isOrphan && Number(started) > began && Number(started) < oldest && isOurs(root, pid);
    })
    .map(({ pid }) => pid);
}

function nameOf(root: string, pid: number): string {
  try {
    return readFileSync(`${root}/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}

function isOurs(root: string, pid: number): boolean {
  try {
    return statSync(`${root}/${pid}`).uid === process.getuid?.();
  } catch {
    return false;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // The process has already ended.
  }
}
