/** The entry: `berth serve` and `berth token`. Reads the environment and exits; nothing else does. */
import { existsSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { asBerthError, type BerthError } from '../shared/errors.ts';
import { createLog, type Log } from '../shared/log.ts';
import { neverShow, redact } from '../shared/redact.ts';
import { version } from '../shared/version.ts';
import { readSupervisorConfig, type SupervisorConfig } from './config.ts';
import { TokenFile } from './http/token-file.ts';
import { digestToken, makeToken, nameOfToken, tokenLine } from './http/tokens.ts';
import { Supervisor } from './supervisor.ts';

const help = `berth ${version}: the Claude Code CLI as a service

  berth serve         take prompts over HTTP; settings come from the environment
  berth token NAME    make an API token: prints it, and its line for BERTH_API_TOKENS_FILE
  berth --version
  berth --help
`;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { version: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
  });
  const [command, name, ...rest] = positionals;
  if (values.version) return print(`${version}\n`);
  if (values.help) return print(help);
  if (command === 'serve' && name === undefined) return serve();
  if (command === 'token' && name !== undefined && rest.length === 0) return printToken(name);
  process.stderr.write(help);
  return 64;
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

async function serve(): Promise<number> {
  const { config, warnings } = readSupervisorConfig(process.env);
  const log = createLog({
    service: 'berth',
    version,
    level: config.logLevel,
    pretty: config.logPretty,
  });
  for (const warning of warnings) log.warn('unknown_setting', warning);
  for (const name of ['ANTHROPIC_API_KEY', 'ANTHROPIC_AUTH_TOKEN', 'CLAUDE_CODE_OAUTH_TOKEN']) {
    neverShow(config.inherited[name]);
  }
  log.info('started', `berth ${version}`, { pid: process.pid });
  try {
    await serveUntilStopped(config, log);
    log.info('stopped', 'stopped');
    return 0;
  } catch (thrown) {
    const error = asBerthError(thrown);
    log.error('failed', error.message, { code: error.code, error });
    leaveTermination(config, error);
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
  const { nameOf, close } = await openTokens(config, log);
  const supervisor = new Supervisor({
    config,
    log,
    nameOfToken: nameOf,
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
    await close();
  }
  if (fatal) throw fatal;
}

/** The tokens from the file, or one that is made now and shown once. */
async function openTokens(
  config: SupervisorConfig,
  log: Log,
): Promise<{ nameOf: (token: string) => string | undefined; close: () => Promise<void> }> {
  if (config.apiTokensFile !== undefined) {
    const file = await TokenFile.open(config.apiTokensFile, log);
    return { nameOf: (token) => file.nameOf(token), close: () => file.close() };
  }
  const token = makeToken();
  process.stderr.write(
    `BERTH_API_TOKENS_FILE is not set; this run takes prompts with the token\n  ${token}\n`,
  );
  const tokens = [{ name: 'default', digest: digestToken(token) }];
  return { nameOf: (presented) => nameOfToken(tokens, presented), close: async () => {} };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** One line of cause and remedy, where Kubernetes shows it. */
function leaveTermination({ terminationLog }: SupervisorConfig, error: BerthError): void {
  if (!existsSync(terminationLog)) return;
  try {
    writeFileSync(terminationLog, redact(error.message).replaceAll('\n', ' ').slice(0, 2_000));
  } catch {
    // It is in the log too.
  }
}

try {
  process.exit(await main());
} catch (thrown) {
  process.stderr.write(`${redact(asBerthError(thrown).message)}\n`);
  process.exit(asBerthError(thrown).exitCode);
}
