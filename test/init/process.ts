/** Runs init/main.ts as a process of its own, with nothing but the environment. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Line } from './fixture.ts';

const program = join(import.meta.dirname, '../../init/main.ts');

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  output: string;
  lines: Line[];
}

export interface Running {
  pid: number;
  kill(signal: NodeJS.Signals): void;
  ended: Promise<Ended>;
}

/** @param as `user`: under uid and gid 1000 without any capability; only root can ask for that */
export function startProgram(
  environment: Record<string, string>,
  options: { arguments?: string[]; as?: 'user' } = {},
): Running {
  const command = [process.execPath, program, ...(options.arguments ?? [])];
  const drop = [
    'setpriv',
    '--reuid',
    '1000',
    '--regid',
    '1000',
    '--clear-groups',
    '--no-new-privs',
  ];
  const [file = '', ...rest] = options.as === 'user' ? [...drop, ...command] : command;
  const child = spawn(file, rest, {
    env: { PATH: process.env.PATH ?? '', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = Promise.all([once(child, 'exit'), text(child.stdout), text(child.stderr)]).then(
    ([[code, signal], stdout, stderr]): Ended => ({
      code,
      signal,
      output: stdout + stderr,
      lines: stdout
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line)),
    }),
  );
  return { pid: child.pid ?? 0, kill: (signal) => void child.kill(signal), ended };
}

export function runProgram(...options: Parameters<typeof startProgram>): Promise<Ended> {
  return startProgram(...options).ended;
}

/** Whether tests that need two users can run. */
export const canChangeUser =
  process.getuid?.() === 0 && spawnSync('setpriv', ['--version']).status === 0;
