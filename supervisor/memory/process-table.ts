/**
 * All processes, as /proc lists them, at a cost of some ten microseconds each: read at once and
 * synchronously, for a promise a file would cost five times that.
 * Always holds: what cannot be read is left out, and of a fork bomb only so many are read.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';

export interface ProcessEntry {
  pid: number;
  parent: number;
  /** With the pid it names a process for as long as the system runs. */
  started: string;
  /** It has ended, and nobody has reaped it. */
  zombie: boolean;
  /** Resident memory in bytes. */
  resident: number;
}

const buffer = Buffer.alloc(4_096);

/**
 * @param root where procfs is mounted
 * @param most more are not read: a fork bomb must not stall the supervisor
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

/** The `NAME=value` of a process's environment; none if it is not to be read. */
export function environmentOf(root: string, pid: number): ReadonlySet<string> {
  try {
    return new Set(readFileSync(`${root}/${pid}/environ`, 'utf8').split('\0'));
  } catch {
    return new Set();
  }
}

/** Bytes of a page of memory: 4 KiB nearly everywhere, up to 64 on some ARM machines. */
export function readPageSize(root: string): number {
  try {
    const smaps = readFileSync(`${root}/self/smaps`, 'utf8');
    return Number(/^KernelPageSize:\s+(\d+) kB$/m.exec(smaps)?.[1] ?? 4) * 1_024;
  } catch {
    return 4_096;
  }
}

/** The process group; 0 if it is gone. */
export function groupOf(root: string, pid: number): number {
  const stat = readSmall(`${root}/${pid}/stat`);
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]) || 0;
}

/** Their ids. */
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
    // It has ended since it was opened.
    return '';
  } finally {
    closeSync(file);
  }
}

/** Fields 3, 4, 22 and 24 of proc(5); the name before them may have blanks and brackets. */
function parseStat(pid: number, stat: string, pageSize: number): ProcessEntry | undefined {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const started = fields[19];
  if (started === undefined) return undefined;
  const resident = Number(fields[21]) * pageSize;
  return { pid, parent: Number(fields[1]), started, zombie: fields[0] === 'Z', resident };
}
