/**
 * The CPU time of a process and all its descendants, and what its children run, from /proc. Reading
 * `children` of each thread costs a tenth of a scan of /proc.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The maximum number of processes, so that a fork bomb cannot stall the supervisor. */
const mostProcesses = 1_000;

/**
 * CPU time in milliseconds of the tree of `pid`, including reaped children; 0 if the process has
 * ended. The value can fall when a child ends that no parent reaps.
 * @param root where procfs is mounted
 */
export function treeCpu(pid: number, root = '/proc'): Promise<number> {
  return sumOfTree(pid, root);
}

/** The arguments of each child of `pid`. @param root where procfs is mounted */
export async function childCommands(pid: number, root = '/proc'): Promise<string[][]> {
  const children = (await childrenOf(root, pid)).slice(0, mostProcesses);
  const lines = await Promise.all(
    children.map((child) => readFile(join(root, String(child), 'cmdline'), 'utf8').catch(() => '')),
  );
  return lines.filter(Boolean).map((line) => line.replace(/\0$/, '').split('\0'));
}

async function sumOfTree(pid: number, root: string): Promise<number> {
  let total = 0;
  const pending = [pid];
  const seen = new Set<number>();
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (seen.has(next) || seen.size >= mostProcesses) continue;
    seen.add(next);
    const [amount, children] = await Promise.all([cpuTime(root, next), childrenOf(root, next)]);
    total += amount;
    pending.push(...children);
  }
  return total;
}

/** Linux reports ticks of 10 ms (USER_HZ), for every kernel configuration. */
const tick = 10;

async function cpuTime(root: string, pid: number): Promise<number> {
  try {
    const stat = await readFile(join(root, String(pid), 'stat'), 'utf8');
    // The name in parentheses may contain any character; utime, stime, cutime and cstime are the
    // 12th to 15th fields after it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks) * tick, 0);
  } catch {
    return 0;
  }
}

async function childrenOf(root: string, pid: number): Promise<number[]> {
  const tasks = join(root, String(pid), 'task');
  try {
    const lists = await Promise.all(
      (await readdir(tasks)).map((task) =>
        readFile(join(tasks, task, 'children'), 'utf8').catch(() => ''),
      ),
    );
    return lists.join(' ').split(/\s+/).filter(Boolean).map(Number);
  } catch {
    return [];
  }
}
