/**
 * The CLI at the terminal of the person who called berth, with their keyboard and their screen.
 * Always holds: it stands in the terminal's own process group, so that Ctrl-C reaches it as well; it has
 * ended when the promise settles, by SIGKILL at the latest.
 */
import { spawn } from 'node:child_process';
import { BerthError, messageOf } from '../../shared/errors.ts';

/** Milliseconds between SIGTERM and SIGKILL. */
const grace = 2_000;

export interface AtTerminal {
  /** The CLI's executable. */
  path: string;
  arguments: readonly string[];
  environment: Record<string, string>;
  workingDirectory: string;
  /** Ends it. */
  signal: AbortSignal;
}

/**
 * @returns its exit code; null if a signal has ended it
 * @throws BerthError `cli_unavailable` if it cannot be started
 */
export function runAtTerminal(options: AtTerminal): Promise<number | null> {
  const { path, environment: env, workingDirectory: cwd, signal } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(path, options.arguments, { cwd, env, stdio: 'inherit' });
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
    child.once('error', (error) => {
      if (child.pid !== undefined) return;
      settle();
      const remedy = 'install it, or set BERTH_CLAUDE_PATH';
      const message = `cannot run the Claude Code CLI at ${path}: ${messageOf(error)}; ${remedy}`;
      reject(new BerthError('cli_unavailable', message, { cause: error }));
    });
    child.once('exit', (exitCode) => {
      settle();
      resolve(exitCode);
    });
  });
}
