/**
 * Selects the CLI: BERTH_CLAUDE_PATH, otherwise `claude` on the PATH, otherwise the CLI that init
 * installed on the volume.
 * Invariants: a new version from init is tested before it is selected, if there is a predecessor. A
 * version that fails is replaced by its predecessor, and this is logged at every start.
 */
import { join } from 'node:path';
import { BerthError, messageOf } from '../../shared/errors.ts';
import { writeFileAtomic } from '../../shared/files.ts';
import {
  installedPlace,
  isInstalled,
  mostTested,
  readInstalled,
  readTested,
  testedFile,
} from '../../shared/installed-cli.ts';
import type { Log } from '../../shared/log.ts';
import { cliEnvironment } from '../claude/environment.ts';
import { wantOf } from '../claude/start-error.ts';
import { checkVersion, isAbsent } from '../claude/version.ts';
import type { SupervisorConfig } from '../config.ts';
import { whileItPasses } from './retry-transient.ts';
import { type CliTest, testCli } from './self-test.ts';
import type { LoginKind } from './test-configuration.ts';

export interface Cli {
  path: string;
  version: string;
  /** The id of the installation, if init installed the CLI; for `noteTested`. */
  id?: string;
  /** Whether this is the predecessor of init's last installation, because that one fails. */
  setBack?: boolean;
  /** The result of the self-test, if the CLI has just passed it. */
  passed?: CliTest;
  /** Whether this installation passed its self-test at an earlier start: it may be used before the test of this start. */
  passedBefore?: boolean;
}

export interface FindCliOptions {
  config: SupervisorConfig;
  log: Log;
  signal: AbortSignal;
  /** The kinds of login that processes use. */
  logins?: readonly LoginKind[];
  /** Milliseconds in which an attempt that failed for a transient reason is repeated. */
  retryFor?: number;
}

/** @throws BerthError `cli_unavailable` if none can be used; the signal's reason */
export async function findCli(options: FindCliOptions): Promise<Cli> {
  const { config, log, signal, retryFor } = options;
  const { claudePath, inherited, configDirectory, stateDirectory } = config;
  const environment = cliEnvironment(inherited, configDirectory, 'version');
  const check = async (path: string, patience = retryFor): Promise<Cli> => ({
    path,
    version: await whileItPasses({ log, signal, patience }, () =>
      checkVersion(path, environment, signal),
    ),
  });
  if (claudePath !== undefined) return check(claudePath);
  const onPath = await check('claude').catch((error: unknown) => error);
  if (!(onPath instanceof Error)) return onPath as Cli;
  const installed = await readInstalled(stateDirectory);
  // A CLI that exists but cannot be used is reported, not skipped.
  if (!installed || !isAbsent(onPath)) throw onPath;
  const tested = await readTested(stateDirectory);
  const use = async (id: string, patience?: number): Promise<Cli> => {
    const { binary } = installedPlace(stateDirectory, id);
    if (await isInstalled(stateDirectory, id)) {
      return { ...(await check(binary, patience)), id, passedBefore: tested.includes(id) };
    }
    const text = `cannot run Claude Code at ${binary}: the file does not exist any more; delete the pod, so that init installs it again`;
    throw new BerthError('cli_unavailable', text);
  };
  const { current, previous } = installed;
  // Without a predecessor, the version is tested at the same time as the first worker, like any
  // CLI; prompts wait for the test.
  if (previous === undefined) return use(current);
  try {
    const cli = await use(current);
    return cli.passedBefore ? cli : { ...cli, passed: await testCli({ ...options, ...cli }) };
  } catch (error) {
    signal.throwIfAborted();
    const want = wantOf(error);
    // The failure says nothing about this version, and its predecessor would fail in the same way.
    if (want === 'not_begun') throw error;
    const goBack = async (): Promise<Cli> => {
      if (want === undefined) return use(previous);
      // A crash and a shortage cause the same signal; in a shortage the predecessor fails too.
      const cli = await use(previous, 0);
      return { ...cli, passed: await testCli({ ...options, ...cli, retryFor: 0 }) };
    };
    const before = await goBack().catch(() => {
      signal.throwIfAborted();
      throw error;
    });
    const text = `the Claude Code version that init installed fails; its predecessor ${before.version} is used`;
    log.error('cli_set_back', `${text}: ${messageOf(error)}`, { error });
    return { ...before, setBack: true };
  }
}

/**
 * Records that an installation passed its test: it is not tested again before its use, and can
 * replace a later version that fails. Never rejects.
 */
export async function noteTested(stateDirectory: string, id: string, log: Log): Promise<void> {
  try {
    const before = await readTested(stateDirectory);
    if (before.includes(id)) return;
    const ids = [...before, id].slice(-mostTested);
    const text = `${JSON.stringify({ version: 1, ids })}\n`;
    await writeFileAtomic(join(stateDirectory, testedFile), text, { mode: 0o600 });
  } catch (error) {
    log.warn('cli_tested', `cannot record that the CLI passed its test: ${messageOf(error)}`, {
      error,
    });
  }
}
