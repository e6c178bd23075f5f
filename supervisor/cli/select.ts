/**
 * Which CLI is run: the one that BERTH_CLAUDE_PATH names, else `claude` on the PATH, else what init
 * has put on the volume. Always holds: a new one of init's is tested before it is used, if there is
 * one to go back to; one that fails is left for the one before it, and said so at every start.
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
import { checkVersion, isAbsent } from '../claude/command.ts';
import { cliEnvironment } from '../claude/environment.ts';
import { wantOf } from '../claude/start-error.ts';
import type { SupervisorConfig } from '../config.ts';
import { whileItPasses } from './retry-transient.ts';
import { testOnEmptyConfiguration } from './self-test.ts';

export interface Cli {
  path: string;
  version: string;
  /** Which of init's it is, if it is one; for `noteTested`. */
  id?: string;
  /** Whether it is the one before that which init installed last, for that one fails. */
  setBack?: boolean;
  /** Whether it has just passed the self-test on an empty configuration. */
  passed?: boolean;
}

export interface FindCliOptions {
  config: SupervisorConfig;
  log: Log;
  signal: AbortSignal;
  /** Milliseconds in which a try that failed for what passes is followed by another. */
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
  // One that is there and cannot be used is not passed over in silence.
  if (!installed || !isAbsent(onPath)) throw onPath;
  const use = async (id: string, patience?: number): Promise<Cli> => {
    const { binary } = installedPlace(stateDirectory, id);
    if (await isInstalled(stateDirectory, id)) return { ...(await check(binary, patience)), id };
    const text = `cannot run Claude Code at ${binary}: it is gone; delete the pod, so that init installs it anew`;
    throw new BerthError('cli_unavailable', text);
  };
  const { current, previous } = installed;
  // With nothing behind it, it is tested beside the first worker, as any CLI.
  if (previous === undefined) return use(current);
  try {
    const cli = await use(current);
    const isTested = (await readTested(stateDirectory)).includes(current);
    if (!isTested) await testOnEmptyConfiguration({ ...options, ...cli });
    return isTested ? cli : { ...cli, passed: true };
  } catch (error) {
    signal.throwIfAborted();
    const want = wantOf(error);
    // It says nothing of that version, and the one before would meet the same.
    if (want === 'not_begun') throw error;
    const goBack = async (): Promise<Cli> => {
      if (want === undefined) return use(previous);
      // Of a crash and of a shortage the signal is the same; in a shortage this one fails as well.
      const cli = await use(previous, 0);
      await testOnEmptyConfiguration({ ...options, ...cli, retryFor: 0 });
      return { ...cli, passed: true };
    };
    const before = await goBack().catch(() => {
      signal.throwIfAborted();
      throw error;
    });
    const text = `the Claude Code that init installed fails, and ${before.version}, the one before it, is used`;
    log.error('cli_set_back', `${text}: ${messageOf(error)}`, { error });
    return { ...before, setBack: true };
  }
}

/** Whoever has passed its test is not tested so again, and is what a later one is set back to. Never rejects. */
export async function noteTested(stateDirectory: string, id: string, log: Log): Promise<void> {
  try {
    const before = await readTested(stateDirectory);
    if (before.includes(id)) return;
    const ids = [...before, id].slice(-mostTested);
    const text = `${JSON.stringify({ version: 1, ids })}\n`;
    await writeFileAtomic(join(stateDirectory, testedFile), text, { mode: 0o600 });
  } catch (error) {
    log.warn('cli_tested', `cannot note that the CLI passed its test: ${messageOf(error)}`, {
      error,
    });
  }
}
