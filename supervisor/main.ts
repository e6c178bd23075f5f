/** The entry: `berth serve`, `token`, `pause` and `resume`. Reads the environment and exits; nothing else does. */
import { parseArgs } from 'node:util';
import { asBerthError, BerthError, messageOf } from '../shared/errors.ts';
import { createLog, type Log } from '../shared/log.ts';
import { neverShow, redact } from '../shared/redact.ts';
import { leaveTerminationMessage, readReporting } from '../shared/reporting.ts';
import { version } from '../shared/version.ts';
import { readCommandConfig, readSupervisorConfig, type SupervisorConfig } from './config.ts';
import { callAdmin, readToken } from './http/call-admin.ts';
import { TokenFile } from './http/token-file.ts';
import { digestToken, fixedTokens, makeToken, type Tokens, tokenLine } from './http/tokens.ts';
import { Profiles } from './profiles/profiles.ts';
import { Supervisor } from './supervisor.ts';

const help = `berth ${version}: the Claude Code CLI as a service

  berth serve         take prompts over HTTP; settings come from the environment
  berth token NAME    make an API token: prints it, and its line for BERTH_API_TOKENS_FILE
  berth pause [--reason TEXT]
                      take no prompts and interrupt those that run; needs an API token, from
                      BERTH_API_TOKEN_FILE, BERTH_API_TOKEN or standard input
  berth resume        take prompts again; needs an API token too
  berth --version
  berth --help
`;

async function main(): Promise<number> {
  const { values, positionals } = readArguments();
  const [command, name, ...rest] = positionals;
  if (values.version) return print(`${version}\n`);
  if (values.help) return print(help);
  if (command === 'serve' && name === undefined) return serve();
  if ((command === 'pause' || command === 'resume') && name === undefined) {
    return pauseOrResume(command, values.reason);
  }
  if (command === 'token' && name !== undefined && rest.length === 0) return printToken(name);
  process.stderr.write(help);
  return 64;
}

/** @throws BerthError `config_invalid` for an option that it does not know */
function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        reason: { type: 'string' },
        version: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new BerthError('config_invalid', `cannot run: ${messageOf(error)}\n\n${help}`);
  }
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

function printToken(name: string): number {
  const token = makeToken();
  const line = tokenLine(name, token);
  return print(
    `Give this token to the caller; it is not shown again:\n${token}\n\nAdd this line to the file or Secret that BERTH_API_TOKENS_FILE names:\n${line}\n`,
  );
}

async function pauseOrResume(command: 'pause' | 'resume', reason?: string): Promise<number> {
  const { httpListen, apiToken } = readCommandConfig(process.env);
  const token = apiToken ?? (await readToken(process.stdin));
  neverShow(token);
  return print(await callAdmin({ command, reason, token, at: httpListen }));
}

async function serve(): Promise<number> {
  const reporting = readReporting(process.env);
  const log = createLog({ service: 'berth', version, together: 20, ...reporting });
  // Running turns are lost then, but the log says why, and the exit code that it is a bug.
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.once(event, (thrown: unknown) => {
      const error = asBerthError(thrown);
      log.error('failed', error.message, { code: error.code, error });
      process.exit(error.exitCode);
    });
  }
  try {
    const { config, warnings } = readSupervisorConfig(process.env);
    for (const warning of warnings) log.warn('unknown_setting', warning);
    for (const name of ['ANTHROPIC_API_KEY', 'ANTHROPIC_AUTH_TOKEN', 'CLAUDE_CODE_OAUTH_TOKEN']) {
      neverShow(config.inherited[name]);
    }
    log.info('started', `berth ${version}`, { pid: process.pid });
    await serveUntilStopped(config, log);
    log.info('stopped', 'stopped');
    return 0;
  } catch (thrown) {
    const error = asBerthError(thrown);
    const why = error.code === 'internal' ? { error } : {};
    log.error('failed', error.message, { code: error.code, exit_code: error.exitCode, ...why });
    await leaveTerminationMessage(reporting.terminationLog, error.message);
    return error.exitCode;
  }
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
    // Told to stop while it was still waiting for the volume: that is no failure.
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

/** The tokens from the file, or one that is made now and shown once. */
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
    `BERTH_API_TOKENS_FILE is not set; this run takes prompts with the token\n  ${token}\n`,
  );
  const tokens = fixedTokens([{ name: 'default', digest: digestToken(token) }]);
  return { tokens, close: async () => {} };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

try {
  process.exit(await main());
} catch (thrown) {
  process.stderr.write(`${redact(asBerthError(thrown).message)}\n`);
  process.exit(asBerthError(thrown).exitCode);
}
