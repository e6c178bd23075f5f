/** The version of an installed CLI: whether berth can use it, and what it can do. */
import { execFile } from 'node:child_process';
import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { promisify } from 'node:util';
import { BerthError, messageOf, systemCode } from '../../shared/errors.ts';
import { forkFlag } from './flags.ts';
import { causeOfSignal, causeOfStartError, isPassingStart } from './start-error.ts';

const run = promisify(execFile);

/**
 * Earlier versions do not report the cost of a single turn (`model_usage_since_last_result`).
 * Versions before 2.1.248 run a leading `/command` of a prompt and read the files that a prompt
 * mentions.
 */
const oldestSupported = [2, 1, 309] as const;

const install =
  'npm install -g @anthropic-ai/claude-code@2.1.330, or let init install it (BERTH_CLAUDE_TARBALL); see docs/containers.md';

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
    const cause = whyNot(path, error);
    const remedy = isPassingStart(error)
      ? ''
      : `; install it (${install}) or set BERTH_CLAUDE_PATH`;
    throw new BerthError(
      'cli_unavailable',
      `cannot run the Claude Code CLI at ${path}: ${cause}${remedy}`,
      { cause: error },
    );
  }
  const match = /(\d+)\.(\d+)\.(\d+)/.exec(output);
  const version = match?.slice(1).map(Number);
  if (!version || !atLeast(version, oldestSupported)) {
    throw new BerthError(
      'cli_unavailable',
      `cannot use the Claude Code CLI at ${path}: it is ${JSON.stringify(output.trim().slice(0, 80))}, but ${oldestSupported.join('.')} or later is required; install one (${install})`,
    );
  }
  return version.join('.');
}

/**
 * Whether the CLI has the hidden flag by which a fork ends at an earlier message. The flag alone is an error, which names
 * what is missing beside it or calls the flag unknown; so nothing is run.
 * @throws Error if the CLI cannot be run; the signal's reason
 */
export async function hasForkFlag(
  path: string,
  environment: Record<string, string>,
  signal: AbortSignal,
): Promise<boolean> {
  const running = run(path, ['-p', `--${forkFlag}=none`], {
    env: environment,
    timeout: 30_000,
    signal,
  });
  running.child.stdin?.end();
  try {
    await running;
    return true;
  } catch (error) {
    signal.throwIfAborted();
    const { code, stderr = '' } = error as { code?: unknown; stderr?: string };
    if (typeof code !== 'number') throw error;
    return !/unknown option/i.test(stderr);
  }
}

/** Whether the error of `checkVersion` means that the program does not exist. */
export function isAbsent(error: Error): boolean {
  return systemCode(error.cause) === 'ENOENT';
}

function whyNot(path: string, error: unknown): string {
  const code = systemCode(error);
  if (code === 'ENOENT' && existsSync(path)) {
    return 'its libraries are missing; a glibc binary does not run on musl, and a musl binary does not run on glibc (Debian)';
  }
  if (code === 'ENOENT') return 'the program does not exist';
  if (isOfAnotherMachine(path)) return `it is not a program for this machine (${process.arch})`;
  if (!isPassingStart(error)) return messageOf(error);
  const { signal } = error as { signal?: string };
  return causeOfStartError(error) ?? `it ${causeOfSignal(signal)}`;
}

/** The machine in the header of a program (ELF); the C library passes such a program to a shell. */
function isOfAnotherMachine(path: string): boolean {
  const own = { x64: 0x3e, arm64: 0xb7 }[process.arch as string];
  const header = Buffer.alloc(20);
  try {
    const file = openSync(path, 'r');
    try {
      readSync(file, header);
    } finally {
      closeSync(file);
    }
  } catch {
    return false;
  }
  const isProgram = header.subarray(0, 4).toString('latin1') === '\x7fELF';
  return isProgram && own !== undefined && header.readUInt16LE(18) !== own;
}

function atLeast(version: readonly number[], minimum: readonly number[]): boolean {
  for (const [index, part] of minimum.entries()) {
    const own = version[index] ?? 0;
    if (own !== part) return own > part;
  }
  return true;
}
