/** The limit of open files, sockets and pipes of this process (RLIMIT_NOFILE). */
import { readFileSync } from 'node:fs';

/**
 * Infinite if there is no limit, or it is unreadable. Node.js has raised the soft limit to the hard
 * limit.
 */
export function descriptorLimit(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    const [, soft] = /^Max open files +(\d+) /m.exec(limits) ?? [];
    return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
