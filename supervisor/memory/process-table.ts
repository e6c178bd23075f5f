/**
 * Lists all processes from /proc, at a cost of some ten microseconds each. Reads are synchronous:
 * one promise for each file would cost five times as much.
 * Invariants: unreadable processes are left out. A fork bomb is read only up to a maximum.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';

export interface ProcessEntry {
  pid: number;
  parent: number;
  /** Identifies the process together with the pid, as long as the system runs. */
  started: string;
  /** The process has ended, and no parent has reaped it. */
  zombie: boolean;
  /** Resident memory in bytes. */
  resident: number;
}

const buffer = Buffer.alloc(4_096);

/**
 * @param root where procfs is mounted
 * @param most the maximum number that is read, so that a fork bomb cannot stall the supervisor
 */
export function readProcesses(
  root: string,
  pageSize: number,
  most: number,
): Map<number, ProcessEntry> {
  const processes = new Map<number, ProcessEntry>();
  for (const name of listProcesses(root)) {
    if (processes.size >= most) break;
    const entry = parseStat(Number(name), readSmall(`${root}/${name}/stat`), pageSize);
    if (entry) processes.set(entry.pid, entry);
  }
  return processes;
}

/** The `NAME=value` entries of a process's environment; empty if it is unreadable. */
export function environmentOf(root: string, pid: number): ReadonlySet<string> {
  try {
    return new Set(readFileSync(`${root}/${pid}/environ`, 'utf8').split('\0'));
  } catch {
    return new Set();
  }
}

/** The entries of an environment that has these marks. */
export function markEntries(marks: Readonly<Record<string, string>>): string[] {
  return Object.entries(marks).map(([name, value]) => `${name}=${value}`);
}

/** AT_PAGESZ in the auxiliary vector of a process. */
const pageSizeName = 6n;
const usualPageSize = 4_096;

/** Bytes of a memory page: 4 KiB nearly everywhere, up to 64 on some ARM machines. */
export function readPageSize(root: string): number {
  try {
    // Pairs of 64-bit numbers: /proc/pid/auxv in proc(5).
    const pairs = new BigUint64Array(new Uint8Array(readFileSync(`${root}/self/auxv`)).buffer);
    const at = pairs.findIndex((name, index) => index % 2 === 0 && name === pageSizeName);
    return at < 0 ? usualPageSize : Number(pairs[at + 1]);
  } catch {
    return usualPageSize;
  }
}

/** The process group; 0 if the process has ended. */
export function groupOf(root: string, pid: number): number {
  const stat = readSmall(`${root}/${pid}/stat`);
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]) || 0;
}

/** The ids of all processes. */
export function listProcesses(root: string): string[] {
  try {
    return readdirSync(root).filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
}

function readSmall(path: string): string {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return '';
  }
  try {
    return buffer.toString('latin1', 0, readSync(file, buffer, 0, buffer.length, 0));
  } catch {
    // The process has ended since the file was opened.
    return '';
  } finally {
    closeSync(file);
  }
}

/** Fields 3, 4, 22 and 24 of proc(5); the name before them may contain blanks and brackets. */
function parseStat(pid: number, stat: string, pageSize: number): ProcessEntry | undefined {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const started = fields[19];
  if (started === undefined) return undefined;
  const resident = Number(fields[21]) * pageSize;
  return { pid, parent: Number(fields[1]), started, zombie: fields[0] === 'Z', resident };
}
