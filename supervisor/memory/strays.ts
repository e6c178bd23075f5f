/**
 * Kills processes of ended workers that have no mark: they were started with an empty environment
 * in a new session (`env -i setsid`), and the container's init adopted them when their parents
 * ended.
 * Invariants: nothing is killed outside of berth's own container, that is on a developer's machine
 * or in a pod with a shared process namespace: there process 1 is no init of a container, or not
 * berth's parent. No process is killed that a living worker may have started.
 */
import { readFileSync, statSync } from 'node:fs';
import { pause } from '../../shared/waiting.ts';
import { killWithGroups } from './kill-marked.ts';
import { type ProcessEntry, readProcesses } from './process-table.ts';

/** Programs that run as process 1 of a container only. */
const inits: ReadonlySet<string> = new Set([
  'tini',
  'tini-static',
  'docker-init',
  'catatonit',
  'dumb-init',
]);

const mostProcesses = 4_000;
/** Rounds, and milliseconds between them: the children of a killed process become orphans next. */
const mostRounds = 50;
const interval = 20;

/**
 * Kills the orphans of ended workers; resolves when none is left, or after about a second.
 * @param living the pids of the CLIs that live
 */
export async function killStrays(living: readonly number[], root = '/proc'): Promise<void> {
  for (let round = 0; round < mostRounds; round++) {
    const strays = findStrays(readProcesses(root, 4_096, mostProcesses), living, root);
    if (strays.length === 0) return;
    killWithGroups(strays, root);
    await pause(interval);
  }
}

/**
 * The orphans of this user that began after this program and before the CLI of every living worker.
 * @param processes by pid
 */
function findStrays(
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
