/**
 * Runs the real Claude Code CLI against the stand-in, for the stand-in's own tests. The process sees
 * nothing of the machine: a clean environment, its own folders, no traffic but to the stand-in.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';

const executable = join(import.meta.dirname, '../../../node_modules/.bin/claude');

/** Milliseconds; generous, since a slow machine must not fail a test. */
const longestSilence = 90_000;

/** One line of `--output-format stream-json`, as far as the tests look at it. */
export interface OutputLine {
  type: string;
  subtype?: string;
  is_error?: boolean;
  result?: string;
  api_error_status?: number | null;
  terminal_reason?: string;
  event?: { type: string };
}

export interface RunningClaude {
  child: ChildProcessWithoutNullStreams;
  /** Writes a prompt, in stream-json input mode. */
  prompt(text: string): void;
  /** Writes a control request, e.g. interrupt. */
  control(subtype: string): void;
  /**
   * The next line, read or yet to come, that fits; each line is given out once.
   * @throws Error if the CLI ends first, or writes no line for 90 seconds
   */
  next(fits: (line: OutputLine) => boolean): Promise<OutputLine>;
  /** The next result. */
  result(): Promise<OutputLine>;
}

/**
 * Starts the CLI in `-p` mode; it is ended with the test.
 * @param options.prompt without one, stream-json input is used.
 * @param options.folder holds the CLI's home, configuration (`config/`) and working directory.
 */
export function startClaude(
  t: Test,
  url: string,
  options: { folder: string; prompt?: string; args?: string[]; maxRetries?: number },
): RunningClaude {
  const { folder, prompt, args = [], maxRetries = 3 } = options;
  for (const name of ['home', 'config', 'work']) mkdirSync(join(folder, name), { recursive: true });
  const input = prompt === undefined ? ['--input-format', 'stream-json'] : [prompt];
  const output = ['--output-format', 'stream-json', '--verbose', '--include-partial-messages'];
  const child = spawn(executable, ['-p', ...input, ...output, ...args], {
    cwd: join(folder, 'work'),
    env: {
      PATH: process.env.PATH ?? '',
      HOME: join(folder, 'home'),
      CLAUDE_CONFIG_DIR: join(folder, 'config'),
      ANTHROPIC_BASE_URL: url,
      ANTHROPIC_API_KEY: 'sk-ant-test-not-a-key',
      CLAUDE_CODE_MAX_RETRIES: String(maxRetries),
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
      DISABLE_AUTOUPDATER: '1',
      DISABLE_TELEMETRY: '1',
      DISABLE_ERROR_REPORTING: '1',
    },
  });
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  if (prompt !== undefined) child.stdin.end();

  let said = '';
  child.stderr.on('data', (chunk) => {
    said += chunk;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  /** The line that is being read. After a wait in vain the next wait gets the line. */
  let coming: ReturnType<typeof lines.next> | undefined;
  async function nextLine() {
    coming ??= lines.next();
    const waiting = new AbortController();
    const late = delay(longestSilence, undefined, { signal: waiting.signal }).then(() => {
      throw new Error(`the CLI has written nothing for too long; its stderr: ${said}`);
    });
    try {
      const line = await Promise.race([coming, late]);
      coming = undefined;
      return line;
    } finally {
      waiting.abort();
    }
  }
  async function next(fits: (line: OutputLine) => boolean): Promise<OutputLine> {
    for (;;) {
      const { value, done } = await nextLine();
      if (done) throw new Error(`the CLI ended before it said so; its stderr: ${said}`);
      const line = JSON.parse(value) as OutputLine;
      if (fits(line)) return line;
    }
  }
  const write = (value: object) => child.stdin.write(`${JSON.stringify(value)}\n`);
  return {
    child,
    next,
    result: () => next((line) => line.type === 'result'),
    prompt(content) {
      write({ type: 'user', message: { role: 'user', content }, parent_tool_use_id: null });
    },
    control(subtype) {
      write({ type: 'control_request', request_id: subtype, request: { subtype } });
    },
  };
}
