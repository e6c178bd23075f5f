/**
 * Tests whether this CLI version can be used, by a turn on a test configuration against an API on loopback
 * (test-turn.ts). The test runs at the same time as the start of the first worker, so it delays little. If the test
 * passes and the worker fails, the user's configuration is the cause.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError, messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { abortable, withDeadline } from '../../shared/waiting.ts';
import { cliEnvironment, marksOf } from '../claude/environment.ts';
import { cliArguments } from '../claude/flags.ts';
import { ClaudeProcess } from '../claude/process.ts';
import { causeOfSignal, causeOfStartError, isPassingStart } from '../claude/start-error.ts';
import type { SupervisorConfig } from '../config.ts';
import { killMarked } from '../memory/kill-marked.ts';
import { whileItPasses } from './retry-transient.ts';
import { startTestApi, type TestApi } from './test-api.ts';
import { type LoginKind, loginKindOf, writeTestConfiguration } from './test-configuration.ts';
import { allowedAtStart, makeSpare, runTestTurn, type TestedTurn, testCalls } from './test-turn.ts';

export interface CliTestOptions {
  config: SupervisorConfig;
  version: string;
  /** The path of the executable. */
  path: string;
  log: Log;
  signal: AbortSignal;
  /** The kinds of login that processes use; by default the one of the container. */
  logins?: readonly LoginKind[];
  /** Milliseconds for the process with the test configuration. */
  patience?: number;
  /** Milliseconds in which an attempt that failed for a transient reason is repeated. */
  retryFor?: number;
}

export interface SelfTestOptions extends CliTestOptions {
  /** Whether the first worker has become ready; undefined if no worker is kept warm. */
  firstWorker: Promise<boolean> | undefined;
  /** The result, if this CLI has passed the test at this start. */
  passed?: CliTest | undefined;
  /** Called when the CLI has passed, which may be before the first worker has started. */
  onPassed?: () => void;
}

/** What a CLI that passed the test can do. */
export interface CliTest {
  /** Whether a shared spare can learn its options late. */
  learnsLate: boolean;
}

const name = 'self-test';

/** @throws BerthError `cli_unavailable` with the version; the signal's reason */
export async function selfTest(options: SelfTestOptions): Promise<CliTest> {
  const { log, version, firstWorker = Promise.resolve(undefined), signal } = options;
  const { passed, onPassed = () => {} } = options;
  const started = performance.now();
  const logResult = (by: 'worker' | 'process', level: 'info' | 'warn', text: string): void =>
    log[level]('cli_tested', text, {
      cli_version: version,
      by,
      duration_ms: Math.round(performance.now() - started),
    });
  const test = async (): Promise<CliTest> => {
    const tested = passed ?? (await testCli(options));
    onPassed();
    return tested;
  };
  const [ready, tested] = await Promise.all([abortable(firstWorker, signal), test()]);
  if (ready === false) {
    const text = `Claude Code ${version} works with a test configuration: the cause of the failing workers is in the .claude repository, the profiles or the login`;
    logResult('process', 'warn', text);
  } else logResult(ready ? 'worker' : 'process', 'info', `Claude Code ${version} works`);
  return tested;
}

/** @throws BerthError `cli_unavailable` with the version; the signal's reason */
export async function testCli(options: CliTestOptions): Promise<CliTest> {
  const { log, signal, retryFor, config, logins = [loginKindOf(config.inherited)] } = options;
  let learnsLate = true;
  for (const login of logins) {
    const tested = await whileItPasses({ log, signal, patience: retryFor }, () =>
      testLogin(options, login),
    );
    if (tested === undefined) return { learnsLate: false };
    learnsLate &&= tested.lateProblem === undefined;
  }
  return { learnsLate };
}

/** Undefined if the test is not possible now. */
async function testLogin(options: CliTestOptions, login: LoginKind) {
  const tested = await testOnce(options, login, true);
  const problem = tested?.lateProblem;
  if (!tested?.proven || problem === undefined) return tested;
  const text = `shared spares are not used with Claude Code ${options.version}, which does not learn its options late: ${problem}`;
  options.log.warn('cli_tested', text, { cli_version: options.version });
  return tested;
}

async function testOnce(
  options: CliTestOptions,
  login: LoginKind,
  asSpare: boolean,
): Promise<TestedTurn | undefined> {
  const { log, signal } = options;
  const { inherited } = options.config;
  await using cleanup = new AsyncDisposableStack();
  let api: TestApi;
  let directory: string;
  let configuration: Awaited<ReturnType<typeof writeTestConfiguration>>;
  try {
    api = await startTestApi(asSpare ? testCalls : []);
    cleanup.defer(() => api.close());
    directory = await mkdtemp(join(inherited.TMPDIR ?? '/tmp', 'berth-self-test-'));
    cleanup.defer(() => rm(directory, { recursive: true, force: true }).catch(() => undefined));
    configuration = await writeTestConfiguration(directory, api.url, login, inherited);
  } catch (error) {
    const text = 'the CLI is not tested: there is no space for temporary files, or no port is free';
    log.warn('cli_tested', text, { error });
    return undefined;
  }
  const process = start(options, configuration.environment, directory);
  let refused: string | undefined;
  try {
    const turn = async (): Promise<TestedTurn | undefined> => {
      if (asSpare) refused = await makeSpare(process);
      else await process.control({ subtype: 'initialize' });
      return refused === undefined
        ? runTestTurn(process, api.requests, configuration.login)
        : undefined;
    };
    // A spare may take 30 s more to learn its options (test-turn.ts).
    const { patience = asSpare ? 90_000 : 60_000 } = options;
    const tested = await abortable(
      withDeadline(turn(), patience, () => tooSlow(patience)),
      signal,
    );
    if (tested?.proven === false) {
      const text =
        'the CLI called another API than the one of its self-test (managed settings can cause this): it is not proven that a prompt is data and that costs are reported';
      log.warn('cli_tested', text, { cli_version: options.version });
    }
    if (tested) return tested;
  } catch (error) {
    signal.throwIfAborted();
    throw failed(options, error, process.stderr);
  } finally {
    await process.stop();
    await killMarked(marksOf(directory, name));
  }
  const old = await testOnce(options, login, false);
  return old && { ...old, lateProblem: refused };
}

function tooSlow(patience: number): Error {
  return new Error(`it did not answer within ${patience / 1_000} s`);
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
      arguments: cliArguments({ allowRules: allowedAtStart }),
      environment: cliEnvironment(inherited, directory, name),
      workingDirectory: directory,
      onStray: () => undefined,
    });
  } catch (error) {
    throw failed(options, error, '');
  }
}

function failed({ version, path }: CliTestOptions, error: unknown, stderr: string): BerthError {
  const cause = causeOfStartError(error) ?? messageOf(error);
  const { signal } = (error as BerthError).details ?? {};
  const shortage = signal ? `it ${causeOfSignal(String(signal))}` : cause;
  const passing = isPassingStart(error);
  const said = stderr && !(passing ? shortage : cause).includes(stderr) ? ` (${stderr})` : '';
  const text = passing
    ? `cannot test Claude Code ${version} at ${path}: ${shortage}${said}`
    : `cannot use Claude Code ${version} at ${path}: it fails its self-test with its test configuration: ${cause}${said}; use a tested version, see docs/containers.md`;
  return new BerthError('cli_unavailable', text, { cause: error });
}
