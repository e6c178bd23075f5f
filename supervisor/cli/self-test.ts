/**
 * Tests whether this CLI version can be used: a process with an empty configuration answers
 * `initialize`, treats a prompt as data, and reports the cost of the turn
 * (claude/composed-probe.ts). The test runs at the same time as the start of the first worker, so
 * it delays nothing. If the test passes and the worker fails, the user's configuration is the
 * cause.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError, messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { abortable, withDeadline } from '../../shared/waiting.ts';
import { cliArguments } from '../claude/command.ts';
import { type Probe, startProbe } from '../claude/composed-probe.ts';
import { cliEnvironment, marksOf } from '../claude/environment.ts';
import { ClaudeProcess } from '../claude/process.ts';
import { causeOfSignal, causeOfStartError, isPassing } from '../claude/start-error.ts';
import type { SupervisorConfig } from '../config.ts';
import { killMarked } from '../memory/kill-marked.ts';
import { whileItPasses } from './retry-transient.ts';

export interface CliTestOptions {
  config: SupervisorConfig;
  version: string;
  /** The path of the executable. */
  path: string;
  log: Log;
  signal: AbortSignal;
  /** Milliseconds for the process with an empty configuration. */
  patience?: number;
  /** Milliseconds in which an attempt that failed for a transient reason is repeated. */
  retryFor?: number;
}

export interface SelfTestOptions extends CliTestOptions {
  /** Whether the first worker has become ready; undefined if no worker is kept warm. */
  firstWorker: Promise<boolean> | undefined;
  /** Whether this CLI has passed the test with an empty configuration at this start. */
  passed?: boolean;
}

const name = 'self-test';

/** @throws BerthError `cli_unavailable` with the version; the signal's reason */
export async function selfTest(options: SelfTestOptions): Promise<void> {
  const { log, version, firstWorker = Promise.resolve(undefined), signal } = options;
  const started = performance.now();
  const told = (by: 'worker' | 'process', level: 'info' | 'warn', text: string): void =>
    log[level]('cli_tested', text, {
      cli_version: version,
      by,
      duration_ms: Math.round(performance.now() - started),
    });
  const [ready] = await Promise.all([
    abortable(firstWorker, signal),
    options.passed ? undefined : testOnEmptyConfiguration(options),
  ]);
  if (ready !== false) {
    return told(ready ? 'worker' : 'process', 'info', `Claude Code ${version} works`);
  }
  const text = `Claude Code ${version} works with an empty configuration: the cause of the failing workers is in the .claude repository, the profiles or the login`;
  told('process', 'warn', text);
}

/** @throws BerthError `cli_unavailable` with the version; the signal's reason */
export function testOnEmptyConfiguration(options: CliTestOptions): Promise<void> {
  const { log, signal, retryFor } = options;
  return whileItPasses({ log, signal, patience: retryFor }, () => testOnce(options));
}

async function testOnce(options: CliTestOptions): Promise<void> {
  const { log, signal } = options;
  const { inherited } = options.config;
  let probe: Probe | undefined;
  let directory: string;
  try {
    probe = await startProbe(inherited);
    directory = await mkdtemp(join(inherited.TMPDIR ?? '/tmp', 'berth-self-test-'));
  } catch (error) {
    probe?.close();
    const text = 'the CLI is not tested: there is no space for temporary files, or no port is free';
    log.warn('cli_tested', text, { error });
    return;
  }
  try {
    const process = start(options, probe.environment, directory);
    try {
      const proven = await abortable(answers(process, probe, options.patience ?? 60_000), signal);
      if (!proven) {
        const text =
          'the CLI called another API than the one of its self-test (managed settings can cause this): it is not proven that a prompt is data and that costs are reported';
        log.warn('cli_tested', text, { cli_version: options.version });
      }
    } catch (error) {
      signal.throwIfAborted();
      throw failed(options, error, process.stderr);
    } finally {
      await process.stop();
      await killMarked(marksOf(directory, name));
    }
  } finally {
    probe.close();
    await rm(directory, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** @throws BerthError `cli_unavailable` if the system refuses immediately */
function start(
  options: CliTestOptions,
  inherited: SupervisorConfig['inherited'],
  directory: string,
): ClaudeProcess {
  try {
    return new ClaudeProcess({
      path: options.path,
      arguments: cliArguments(),
      environment: cliEnvironment(inherited, directory, name),
      workingDirectory: directory,
      onStray: () => undefined,
    });
  } catch (error) {
    throw failed(options, error, '');
  }
}

/** @throws Error if the CLI does not pass in time */
function answers(process: ClaudeProcess, probe: Probe, patience: number): Promise<boolean> {
  const both = process.control({ subtype: 'initialize' }).then(() => probe.ask(process));
  return withDeadline(
    both,
    patience,
    () => new Error(`it did not answer within ${patience / 1_000} s`),
  );
}

function failed({ version, path }: CliTestOptions, error: unknown, stderr: string): BerthError {
  const cause = causeOfStartError(error) ?? messageOf(error);
  const { signal } = (error as BerthError).details ?? {};
  const shortage = signal ? `it ${causeOfSignal(String(signal))}` : cause;
  const passing = isPassing(error);
  const said = stderr && !(passing ? shortage : cause).includes(stderr) ? ` (${stderr})` : '';
  const text = passing
    ? `cannot test Claude Code ${version} at ${path}: ${shortage}${said}`
    : `cannot use Claude Code ${version} at ${path}: it fails its self-test on an empty configuration: ${cause}${said}; use a tested version, see docs/containers.md`;
  return new BerthError('cli_unavailable', text, { cause: error });
}
