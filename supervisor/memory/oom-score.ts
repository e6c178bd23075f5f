/**
 * Makes the kernel kill the CLI first when memory runs out, not the supervisor, which can replace
 * the CLI.
 */
import { readFileSync, writeFileSync } from 'node:fs';

/** Half of the container's memory, in the kernel's thousandths. */
const above = 500;
const most = 1_000;

/**
 * Raises the score of a process above the score of the supervisor; child processes inherit it.
 * Raising needs no privilege. Call this right after the start, before the process has children.
 * @returns false if the kernel does not allow it
 * @param root where procfs is mounted
 */
export function offerToKernel(pid: number, root = '/proc'): boolean {
  try {
    const own = Number(readFileSync(`${root}/self/oom_score_adj`, 'utf8'));
    const score = Math.min(most, (Number.isFinite(own) ? own : 0) + above);
    writeFileSync(`${root}/${pid}/oom_score_adj`, String(score));
    return true;
  } catch {
    return false;
  }
}
