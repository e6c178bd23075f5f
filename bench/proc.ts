/** Reads the CPU time and the memory of a process from /proc. */
import { readFileSync } from 'node:fs';

/** Linux counts CPU time in hundredths of a second on every machine that supports Node. */
const millisecondsPerTick = 10;

/** Returns the user and system time of the process so far, in ms, without its children. */
export function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name, the second field, may contain spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * millisecondsPerTick;
}

/** Returns the resident memory in MB (MiB). */
export function residentOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
}
