/** `berth serve`: from the settings to the end of the last turn and the exit code. */

import type { BerthError } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import { loginSecrets, providerSecrets } from '../shared/login-variables.ts';
import { neverShow } from '../shared/redact.ts';
import { aborted } from '../shared/waiting.ts';
import { ignoredByCli } from './claude/environment.ts';
import { readSupervisorConfig, type SupervisorConfig } from './config.ts';
import { TokenFile } from './http/token-file.ts';
import { digestToken, fixedTokens, makeToken, type Tokens } from './http/tokens.ts';
import { Profiles } from './profiles/profiles.ts';
import { runService } from './run-service.ts';
import { Supervisor } from './supervisor.ts';

/**
 * @param environment of the process
 * @param exit ends this process with a code, when the process can no longer be trusted
 * @returns the exit code; its error is already logged
 */
export function serve(
  environment: NodeJS.ProcessEnv,
  exit: (code: number) => void,
): Promise<number> {
  return runService({
    ...{ command: 'berth', service: 'berth', together: 20, environment, exit },
    read: readSupervisorConfig,
    review: ({ inherited }, log) => {
      for (const { name, reason } of ignoredByCli(inherited)) {
        log.warn('cli_variable_ignored', `${name} is not passed to the CLI: ${reason}`, { name });
      }
      for (const name of [...loginSecrets, ...providerSecrets]) neverShow(inherited[name]);
    },
    run: serveUntilStopped,
  });
}

async function serveUntilStopped(config: SupervisorConfig, log: Log): Promise<void> {
  const stop = new AbortController();
  const now = new AbortController();
  let fatal: BerthError | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) now.abort();
    else stop.abort(signal);
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  const { tokens, close } = await openTokens(config, log);
  const profiles = await openProfiles(config, log).catch(async (error: unknown) => {
    await close();
    throw error;
  });
  const supervisor = new Supervisor({
    config,
    log,
    tokens,
    profiles,
    onFatal: (error) => {
      fatal = error;
      now.abort();
      stop.abort(error);
    },
  });
  try {
    await supervisor.start(stop.signal);
    await aborted(stop.signal);
  } catch (error) {
    // Stopped while it was still waiting for the volume: this is no failure.
    if (!stop.signal.aborted) throw error;
  } finally {
    await supervisor.stop(now.signal);
    await profiles.close();
    await close();
  }
  if (fatal) throw fatal;
}

function openProfiles(config: SupervisorConfig, log: Log): Promise<Profiles> {
  const { profilesFile: path, warmWorkers, maxWorkers, workingDirectory } = config;
  return Profiles.open({ path, warmWorkers, maxWorkers, workingDirectory, log });
}

/** The tokens from the file, or a token that is created now and shown once. */
async function openTokens(
  config: SupervisorConfig,
  log: Log,
): Promise<{ tokens: Tokens; close: () => Promise<void> }> {
  if (config.apiTokensFile !== undefined) {
    const file = await TokenFile.open(config.apiTokensFile, log);
    return { tokens: file, close: () => file.close() };
  }
  const token = makeToken();
  process.stderr.write(
    `BERTH_API_TOKENS_FILE is not set; this run accepts prompts with the token\n  ${token}\n`,
  );
  const tokens = fixedTokens([{ name: 'default', digest: digestToken(token) }]);
  return { tokens, close: async () => {} };
}
