/**
 * Runs the bundle of init as a process of its own, with nothing but the environment. The bundle starts in
 * a third of the time of the sources; `npm test` builds it first.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { compiledCode } from '../support/programs.ts';
import type { Line } from './fixture.ts';

export const initBundle = join(import.meta.dirname, '../../dist/berth-init.cjs');

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

export interface StartOptions {
  /** What Node.js is given before them, instead of the bundle. */
  program?: readonly string[];
  arguments?: string[];
  /**
   * `user`: uid and gid 1000 without any capability; `root`: uid 0 with these capabilities and no
   * other. Only root can ask for that.
   */
  as?: 'user' | { root: readonly string[] };
  /** Supplementary groups of `user`, as an fsGroup gives one. */
  groups?: readonly number[];
}

export function startProgram(
  environment: Record<string, string>,
  options: StartOptions = {},
): Running {
  const program = options.program ?? [initBundle];
  const command = [process.execPath, ...program, ...(options.arguments ?? [])];
  const [file = '', ...rest] = [...privileges(options), ...command];
  const child = spawn(file, rest, {
    env: { PATH: process.env.PATH, ...compiledCode, ...environment },
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

function privileges({ as, groups = [] }: StartOptions): string[] {
  if (as === undefined) return [];
  const common = ['setpriv', '--no-new-privs'];
  if (as !== 'user') {
    const kept = ['-all', ...as.root.map((name) => `+${name}`)].join(',');
    return [...common, '--clear-groups', `--inh-caps=${kept}`, `--bounding-set=${kept}`];
  }
  const grouping = groups.length > 0 ? `--groups=${groups.join(',')}` : '--clear-groups';
  return [...common, '--reuid=1000', '--regid=1000', grouping];
}

export function runProgram(...options: Parameters<typeof startProgram>): Promise<Ended> {
  return startProgram(...options).ended;
}

/** Whether tests that need two users can run. */
export const canChangeUser =
  process.getuid?.() === 0 && spawnSync('setpriv', ['--version']).status === 0;
