/**
 * Runs the CLI at the terminal of the caller of berth, with keyboard and screen.
 * Invariants: the CLI is in the terminal's process group, so that Ctrl-C reaches it too. The CLI
 * has ended when the promise settles, by SIGKILL at the latest.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { BerthError, messageOf } from '../../shared/errors.ts';

/** Milliseconds between SIGTERM and SIGKILL. */
const grace = 2_000;

export interface AtTerminal {
  /** The CLI's executable. */
  path: string;
  arguments: readonly string[];
  environment: Record<string, string>;
  workingDirectory: string;
  /** Ends the CLI. */
  signal: AbortSignal;
}

/**
 * @returns the exit code; null if a signal ended the CLI
 * @throws BerthError `cli_unavailable` if the CLI cannot be started
 */
export function runAtTerminal(options: AtTerminal): Promise<number | null> {
  const { path, environment: env, workingDirectory: cwd, signal } = options;
  const refused = (error: unknown): BerthError => {
    const remedy = 'install it, or set BERTH_CLAUDE_PATH';
    const message = `cannot run the Claude Code CLI at ${path}: ${messageOf(error)}; ${remedy}`;
    return new BerthError('cli_unavailable', message, { cause: error });
  };
  return new Promise((resolve, reject) => {
    let child: ChildProcess;
    try {
      child = spawn(path, options.arguments, { cwd, env, stdio: 'inherit' });
    } catch (error) {
      return reject(refused(error));
    }
    let late: NodeJS.Timeout | undefined;
    const end = (): void => {
      child.kill('SIGTERM');
      late = setTimeout(() => child.kill('SIGKILL'), grace);
    };
    if (signal.aborted) end();
    signal.addEventListener('abort', end, { once: true });
    const settle = (): void => {
      clearTimeout(late);
      signal.removeEventListener('abort', end);
    };
    child.on('error', (error) => {
      if (child.pid !== undefined) return;
      settle();
      reject(refused(error));
    });
    child.once('exit', (exitCode) => {
      settle();
      resolve(exitCode);
    });
  });
}
