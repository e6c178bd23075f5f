/**
 * The operating system's process of a CLI: its input, its output, its end, and signals to its process group.
 * Invariants: `ended` always resolves, also if the process could not be started; output that was written
 * before the end is read before `ended` resolves; no pipe stays open after that.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { messageOf } from '../../shared/errors.ts';
import { splitLines } from './split-lines.ts';
import { causeOfStartError } from './start-error.ts';
import { StderrTail } from './stderr-tail.ts';

export interface ChildOptions<M> {
  /** The executable. */
  path: string;
  arguments: readonly string[];
  environment: Record<string, string>;
  workingDirectory: string;
  /** The message of one line of output; undefined if the line has none. */
  read: (line: string) => M | undefined;
  onMessage: (message: M) => void;
  /** Called with what `onMessage` has thrown. */
  onFailure: (error: unknown) => void;
  /** Called if a line is too long to be read. */
  onLongLine: () => void;
  /** Called once, before `ended` resolves. */
  onEnd: () => void;
}

export interface ProcessEnd {
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  /** The last lines of standard error. */
  stderr: string;
}

/** The longest line that is read, in bytes: an answer or a tool result stands in one line. */
const longestLine = 64 * 1024 * 1024;

/** Milliseconds after the exit in which the rest of the output may still arrive. */
const outputGrace = 500;

export class CliChild<M> {
  /** Resolves when the process has ended and its output was read; never rejects. */
  readonly ended: Promise<ProcessEnd>;
  readonly stderr = new StderrTail();
  readonly #child: ChildProcess;
  #end: ProcessEnd | undefined;
  #refused: Error | undefined;

  constructor(options: ChildOptions<M>) {
    this.#child = spawn(options.path, options.arguments, {
      cwd: options.workingDirectory,
      env: options.environment,
      stdio: ['pipe', 'pipe', 'pipe'],
      // A process group of its own: signals to the supervisor's group do not reach it, and one signal reaches
      // it with all its children.
      detached: true,
    });
    const { promise, resolve } = Promise.withResolvers<ProcessEnd>();
    this.ended = promise;
    const settle = (exitCode: number | null, signal: NodeJS.Signals | null): void => {
      if (this.#end) return;
      this.#end = { exitCode, signal, stderr: this.stderr.text };
      // Another process may still hold the other ends of the pipes.
      for (const pipe of pipesOf(this.#child)) pipe?.destroy();
      options.onEnd();
      resolve(this.#end);
    };
    this.#child.once('error', (error) => {
      this.stderr.add(messageOf(error));
      if (causeOfStartError(error) !== undefined) this.#refused = error;
      settle(null, null);
    });
    this.#child.once('close', settle);
    // `close` does not come while a grandchild keeps a pipe open.
    this.#child.once('exit', (exitCode, signal) => {
      setTimeout(() => settle(exitCode, signal), outputGrace).unref();
    });
    // For example a write to a process that has just ended: the end of the process explains it.
    for (const pipe of pipesOf(this.#child)) pipe?.on('error', () => {});
    this.#child.stderr?.on('data', (chunk: Buffer) => this.stderr.add(chunk.toString('utf8')));
    this.#child.stdout
      ?.pipe(splitLines({ read: options.read, longest: longestLine }))
      .on('data', (message: M) => {
        // Thrown into the stream, it would look like an error of the output.
        try {
          options.onMessage(message);
        } catch (error) {
          options.onFailure(error);
        }
      })
      .on('error', options.onLongLine);
  }

  /** Undefined if the process could not be started. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Undefined while the process lives. */
  get end(): ProcessEnd | undefined {
    return this.#end;
  }

  /** The error with which the system refused to start the process. */
  get refused(): Error | undefined {
    return this.#refused;
  }

  write(line: string): void {
    this.#child.stdin?.write(line);
  }

  closeInput(): void {
    this.#child.stdin?.end();
  }

  /** Sends a signal to the whole process group. */
  signal(signal: NodeJS.Signals): void {
    if (this.pid === undefined) return;
    try {
      process.kill(-this.pid, signal);
    } catch {
      // The group has no process any more.
    }
  }
}

/** There are no pipes if the supervisor has no file descriptor left (EMFILE), in spite of the type. */
function pipesOf({ stdio }: ChildProcess): readonly (Readable | Writable | null | undefined)[] {
  return (stdio as ChildProcess['stdio'] | undefined) ?? [];
}
