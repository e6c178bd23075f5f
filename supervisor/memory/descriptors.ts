/** How many files, sockets and pipes this process may have open at once (RLIMIT_NOFILE). */
import { readFileSync } from 'node:fs';

/** Infinite where there is no bound, or none that can be read. Node.js has raised it to the hard one. */
export function descriptorLimit(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    const [, soft] = /^Max open files +(\d+) /m.exec(limits) ?? [];
    return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
