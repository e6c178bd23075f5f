/** Runs a process to its end and returns its duration and its peak memory. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';

export interface Command {
  file: string;
  arguments: readonly string[];
  environment: Record<string, string>;
}

export interface Measured {
  milliseconds: number;
  /** The largest VmHWM of the process and its descendants, in MB; 0 without `watched`. */
  megabytes: number;
}

/**
 * @param watched samples the memory every few milliseconds, which costs time: not for timing
 * @throws Error with the output if the exit code is not 0
 */
export async function measure(command: Command, watched = false): Promise<Measured> {
  const started = performance.now();
  const child = spawn(command.file, command.arguments, {
    env: command.environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let megabytes = 0;
  const look = () => {
    for (const pid of familyOf(child.pid ?? 0)) megabytes = Math.max(megabytes, peakOf(pid));
  };
  const timer = watched ? setInterval(look, 3) : undefined;
  const [[code], output, errors] = await Promise.all([
    once(child, 'exit'),
    text(child.stdout),
    text(child.stderr),
  ]);
  const milliseconds = performance.now() - started;
  clearInterval(timer);
  if (code !== 0) throw new Error(`${command.file} ended with ${code}: ${output}${errors}`);
  return { milliseconds, megabytes };
}

function familyOf(pid: number): number[] {
  const children = read(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number);
  return [pid, ...children.flatMap(familyOf)];
}

function peakOf(pid: number): number {
  return Number(/VmHWM:\s+(\d+) kB/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) / 1024;
}

/** Returns an empty text if the process has ended. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
