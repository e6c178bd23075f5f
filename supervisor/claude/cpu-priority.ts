/** Lets the supervisor answer callers and probes while the CLI and its tools use all CPUs of the container. */
import { getPriority, setPriority } from 'node:os';

/** Each step of niceness is a fifth of the CPU time less, beside a process that has not got it. */
const nicer = 10;
const nicest = 19;

/**
 * Makes a process give way to the supervisor; threads and child processes inherit it. It needs no privilege, and costs the
 * process nothing while a CPU is free. Call this right after the start, before the process has threads.
 * @returns false if the process is gone
 */
export function giveWay(pid: number): boolean {
  try {
    setPriority(pid, Math.min(nicest, getPriority() + nicer));
    return true;
  } catch {
    return false;
  }
}
