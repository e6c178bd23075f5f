/** A command at a terminal of its own (`script` makes it), as a person would see it and type into it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Test } from 'tap';
import { until } from './until.ts';

export interface Terminal {
  /** Everything written so far, without what moves the cursor and colours the text. */
  screen(): string;
  /** Waits until the screen shows it. */
  shows(pattern: RegExp): Promise<RegExpExecArray>;
  /** As with the keyboard; `\r` is Enter, `\x03` Ctrl-C. */
  type(text: string): void;
  /** Settles with the command's exit code. */
  readonly exited: Promise<number | null>;
  /** Takes the terminal away. */
  hangUp(): Promise<void>;
}

export interface TerminalOptions {
  /** For a shell. */
  command: string;
  workingDirectory: string;
  environment: Record<string, string>;
}

/** Ended with the test at the latest. */
export function startInTerminal(t: Test, options: TerminalOptions): Terminal {
  const { command, workingDirectory: cwd, environment: env } = options;
  const sized = `stty rows 50 cols 160; exec ${command}`;
  const child: ChildProcess = spawn('script', ['-qfec', sized, '/dev/null'], {
    cwd,
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { TERM: 'xterm-256color', ...env },
  });
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  let text = '';
  child.stdout?.on('data', (chunk) => {
    text += chunk;
  });
  child.stdin?.on('error', () => {});
  const hangUp = async () => {
    child.kill('SIGKILL');
    await exited;
  };
  t.teardown(hangUp);
  const screen = () => plain(text);
  return {
    screen,
    exited,
    hangUp,
    type: (typed) => void child.stdin?.write(typed),
    shows: (pattern) =>
      until(`the terminal shows ${pattern}`, () => pattern.exec(screen()) ?? undefined),
  };
}

/** Words are often set apart by moving the cursor instead of a blank. */
function plain(text: string): string {
  return (
    text
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
      .replace(/\x1b\[\d*[CG]/g, ' ')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
      .replace(/\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[[(][0-9;?<>=]*[A-Za-z]/g, '')
      .replace(/[\r\n ]+/g, ' ')
  );
}
