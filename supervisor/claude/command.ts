/** The CLI as a command: where it is, whether its version will do, and with which flags it runs. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { BerthError, messageOf, systemCode } from '../../shared/errors.ts';

const run = promisify(execFile);

/** Earlier ones race on credentials and leave the Bash tool's processes behind on SIGTERM. */
const oldestSupported = [2, 1, 212] as const;

const install =
  'npm install -g @anthropic-ai/claude-code@2.1.330; for an image see docs/containers.md';

/**
 * The version that the executable at `path` reports.
 * @throws BerthError `cli_unavailable` if it cannot be run or is too old
 */
export async function checkVersion(
  path: string,
  environment: Record<string, string>,
  signal?: AbortSignal,
): Promise<string> {
  let output: string;
  try {
    ({ stdout: output } = await run(path, ['--version'], {
      env: environment,
      timeout: 30_000,
      ...(signal ? { signal } : {}),
    }));
  } catch (error) {
    signal?.throwIfAborted();
    const cause = systemCode(error) === 'ENOENT' ? 'there is no such program' : messageOf(error);
    throw new BerthError(
      'cli_unavailable',
      `cannot run the Claude Code CLI at ${path}: ${cause}; install it (${install}) or set BERTH_CLAUDE_PATH`,
      { cause: error },
    );
  }
  const match = /(\d+)\.(\d+)\.(\d+)/.exec(output);
  const version = match?.slice(1).map(Number);
  if (!version || !atLeast(version, oldestSupported)) {
    throw new BerthError(
      'cli_unavailable',
      `cannot use the Claude Code CLI at ${path}: it is ${JSON.stringify(output.trim().slice(0, 80))}, and ${oldestSupported.join('.')} or later is needed; install one (${install})`,
    );
  }
  return version.join('.');
}

function atLeast(version: readonly number[], minimum: readonly number[]): boolean {
  for (const [index, part] of minimum.entries()) {
    const own = version[index] ?? 0;
    if (own !== part) return own > part;
  }
  return true;
}

/** Settings that beat those of the user's settings.json. */
export interface CliSettings {
  /** Days after which the CLI removes transcripts by itself. */
  cleanupPeriodDays?: number;
}

/**
 * The flags of a worker.
 * @param resume the session to go on with; absent starts a new one
 */
export function cliArguments(resume: string | undefined, settings?: CliSettings): string[] {
  return [
    '-p',
    '--input-format=stream-json',
    '--output-format=stream-json',
    '--verbose',
    '--include-partial-messages',
    // Settings, hooks and MCP servers found in a working directory are not trusted.
    '--setting-sources=user',
    ...(settings ? ['--settings', JSON.stringify(settings)] : []),
    ...(resume === undefined ? [] : ['--resume', resume]),
  ];
}
