/**
 * Runs berth's two programs as real processes, from the bundles in dist/.
 * Owns the processes and what they print; the environment is the caller's, nothing is inherited.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import split2 from 'split2';
import { threadEnvironment } from '../../shared/thread-environment.ts';

const root = join(import.meta.dirname, '../..');

/** Where Node.js keeps compiled code, as the images have it: a start costs a fifth less. */
export const compiledCode: Readonly<Record<string, string>> = threadEnvironment();

/** The bundles, as the images have them. */
const entries = { init: 'dist/berth-init.cjs', serve: 'dist/berth.mjs' } as const;

export type LogLine = Record<string, unknown> & { level: string; event: string; msg: string };

export interface Program {
  readonly pid: number;
  /** Everything that it printed so far, standard output and error together. */
  readonly output: string;
  readonly lines: readonly LogLine[];
  /** Settles with the exit code, or with the signal's name. */
  readonly ended: Promise<number | string>;
  kill(signal: NodeJS.Signals): void;
  /**
   * The first log line of that event, seen already or still to come.
   * @throws Error with the output if the program ends first, or does not log the event within two minutes
   */
  logged(event: string): Promise<LogLine>;
}

export interface ProgramOptions {
  arguments?: readonly string[];
  /** How Node.js is started, the program last; absent: with the program alone. */
  start?: readonly string[];
  environment: Record<string, string | undefined>;
  onLine?: (line: LogLine) => void;
  /** A command that runs the one which is put after it, such as `podman run`. */
  within?: readonly string[];
  /** The `cgroup.procs` of the cgroups to run in. */
  cgroup?: readonly string[];
}

/** Milliseconds; generous, since a slow machine must not fail a test. */
const longestWait = 120_000;

/** `$0` are the `cgroup.procs`. */
export const enterAndRun = 'for file in $0; do echo $$ > "$file" || exit; done; exec "$@"';

export function startProgram(name: keyof typeof entries, options: ProgramOptions): Program {
  const entry = join(root, entries[name]);
  const start = options.start ?? [entry];
  const own = [process.execPath, ...start, ...(options.arguments ?? [])];
  const command = [...(options.within ?? []), ...own];
  const wrapped =
    options.cgroup === undefined
      ? command
      : ['sh', '-c', enterAndRun, options.cgroup.join(' '), ...command];
  const child = spawn(wrapped[0] ?? '', wrapped.slice(1), {
    env: { PATH: process.env.PATH, ...compiledCode, ...options.environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return watch(child, options.onLine);
}

function watch(child: ChildProcess, onLine: ProgramOptions['onLine']): Program {
  const lines: LogLine[] = [];
  let output = '';
  const waiting = new Set<(line: LogLine) => void>();
  child.stderr?.on('data', (chunk: Buffer) => {
    output += chunk.toString('utf8');
  });
  child.stdout?.pipe(split2()).on('data', (text: string) => {
    output += `${text}\n`;
    const line = parseLine(text);
    if (!line) return;
    lines.push(line);
    onLine?.(line);
    for (const look of [...waiting]) look(line);
  });
  const ended = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | string);
  return {
    pid: child.pid ?? 0,
    lines,
    ended,
    get output() {
      return output;
    },
    kill: (signal) => void child.kill(signal),
    logged: (event) =>
      new Promise((resolve, reject) => {
        const look = (line: LogLine): void => {
          if (line.event !== event) return;
          waiting.delete(look);
          clearTimeout(deadline);
          resolve(line);
        };
        const fail = (why: string): void => {
          waiting.delete(look);
          clearTimeout(deadline);
          reject(new Error(`${why}:\n${output}`));
        };
        const deadline = setTimeout(() => fail(`it has not logged ${event}`), longestWait);
        waiting.add(look);
        for (const line of [...lines]) look(line);
        void ended.then((how) => fail(`it ended with ${how} first`));
      }),
  };
}

function parseLine(text: string): LogLine | undefined {
  try {
    return JSON.parse(text) as LogLine;
  } catch {
    return undefined;
  }
}
