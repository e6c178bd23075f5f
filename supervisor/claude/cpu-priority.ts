/** Lets the supervisor answer callers and probes while the CLI and its tools use all CPUs of the container. */
import { getPriority, setPriority } from 'node:os';

/** Each step of niceness is a fifth of the CPU time less, beside a process that has not got it. */
const nicer = 10;
const nicest = 19;

/**
 * Gives a process a lower CPU priority than the supervisor; threads and child processes inherit it. It needs no
 * privilege, and costs the process nothing while a CPU is free. Call this right after the start, before threads exist.
 * @returns false if the process is gone
 */
export function lowerPriority(pid: number): boolean {
  try {
    setPriority(pid, Math.min(nicest, getPriority() + nicer));
    return true;
  } catch {
    return false;
  }
}
