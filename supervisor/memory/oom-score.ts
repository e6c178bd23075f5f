/** Whom the kernel takes first when memory is out: the CLI, not the supervisor that can replace it. */
import { readFileSync, writeFileSync } from 'node:fs';

/** Half of the container's memory, in the kernel's thousandths. */
const above = 500;
const most = 1_000;

/**
 * Raises the score of a process above the supervisor's own; what it starts inherits it. Raising needs
 * no privilege. Call it right after the start, before the process has children.
 * @returns false if the kernel does not let it
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
