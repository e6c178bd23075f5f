/**
 * `berth login`: a person at a terminal logs in with the CLI's own login, and the login is written
 * to the volume. So no other machine shares the refresh tokens, which work once. It works beside a
 * running supervisor.
 * Invariant: nothing on the volume changes until the new login is complete and valid.
 */
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Environment } from '../../shared/config.ts';
import {
  type Credentials,
  credentialsFileName,
  credentialsLimit,
  hideTokens,
  judgeCredentials,
} from '../../shared/credentials.ts';
import { BerthError } from '../../shared/errors.ts';
import { makeDirectories, readFileBounded, readProvided, unwritable } from '../../shared/files.ts';
import {
  loginSecrets,
  loginVariable,
  providers,
  settingsBringLogin,
} from '../../shared/login-variables.ts';
import type { Owner } from '../../shared/owner.ts';
import { runAtTerminal } from '../claude/at-terminal.ts';
import { cliEnvironment } from '../claude/environment.ts';
import { findCli } from '../claude/find-cli.ts';
import type { LoginConfig } from '../config.ts';
import { installLogin } from './install-login.ts';
import { takeTurn } from './one-at-a-time.ts';
import { inPrivate } from './private-directory.ts';

/** Milliseconds for everything; a code of the login page expires sooner. */
const deadline = 15 * 60_000;

/** The parts of the process that this needs. */
export interface Surroundings {
  stdin: { isTTY?: boolean };
  stdout: { isTTY?: boolean };
  stderr: { write(text: string): unknown };
  on(signal: NodeJS.Signals, listener: () => void): unknown;
  off(signal: NodeJS.Signals, listener: () => void): unknown;
  getuid?(): number;
}

/**
 * @returns the text for the person
 * @throws BerthError `config_invalid`, `login_failed`, `lease_held`, `cli_unavailable`,
 * `volume_unwritable`
 */
export async function logIn(config: LoginConfig, process: Surroundings): Promise<string> {
  if (!process.stdin.isTTY || !process.stdout.isTTY) {
    throw refused(
      'there is no terminal',
      'run it with both -i and -t: `kubectl exec -it deploy/berth -c runtime -- berth login`',
    );
  }
  await checkSource(config);
  const owner = await checkVolume(config, process.getuid?.() === 0);
  const giveUp = await takeTurn(config.configDirectory);
  const interrupted = new AbortController();
  const interrupt = (): void => interrupted.abort(failed('it was interrupted'));
  // Ctrl-C reaches the CLI too, and ends it.
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, interrupt);
  const late = setTimeout(() => {
    interrupted.abort(failed('the login was not finished within 15 minutes'));
  }, deadline);
  try {
    const { signal } = interrupted;
    const path = await findCli(config, environmentIn(config, '/nonexistent'), signal);
    process.stderr.write(
      `This makes a login only for the CLI on ${config.configDirectory}. Nothing changes until the login is complete. Ctrl-C cancels.\n\n`,
    );
    const credentials = await inPrivate(config.configDirectory, async (directory) => {
      await runLogin(path, config, directory, signal);
      return readLogin(directory);
    });
    signal.throwIfAborted();
    const onWait = () =>
      void process.stderr.write('Waiting for a worker that refreshes the old login ...\n');
    await installLogin(placeOf(config), credentials, { owner, signal, onWait });
    return await describe(config, credentials);
  } finally {
    clearTimeout(late);
    for (const signal of signals) process.off(signal, interrupt);
    giveUp();
  }
}

async function runLogin(path: string, config: LoginConfig, directory: string, signal: AbortSignal) {
  const exitCode = await runAtTerminal({
    path,
    arguments: ['auth', 'login', '--claudeai'],
    environment: environmentIn(config, directory),
    workingDirectory: directory,
    signal,
  });
  signal.throwIfAborted();
  if (exitCode === 0) return;
  throw failed(
    exitCode === 130
      ? 'it was interrupted'
      : `the CLI ended with ${exitCode === null ? 'a signal' : `exit code ${exitCode}`}`,
  );
}

/** @throws BerthError `login_failed` if the CLI has stored no usable login */
async function readLogin(directory: string): Promise<Credentials> {
  const path = join(directory, credentialsFileName);
  const content = await readFileBounded(path, credentialsLimit).catch(() => undefined);
  const judgement = content && judgeCredentials(content);
  if (judgement?.kind !== 'valid') throw failed('the CLI has stored no usable login');
  const { credentials } = judgement;
  hideTokens(credentials);
  if (credentials.refreshTokenId === undefined) throw failed('it cannot be refreshed');
  if (credentials.expiresAt <= Date.now()) throw failed("it has ended already by this pod's clock");
  return credentials;
}

/** Without variables of another login: the CLI would refuse to log in. */
function environmentIn({ inherited }: LoginConfig, directory: string): Record<string, string> {
  const without: Record<string, string | undefined> = { ...inherited };
  for (const name of [...loginSecrets, ...providers]) delete without[name];
  const { TERM: terminal = 'xterm' } = inherited;
  return { ...cliEnvironment(without, directory, 'login'), TERM: terminal };
}

/** @throws BerthError `config_invalid` if the next start would revert the login */
async function checkSource({ credentialsSource, credentialsPolicy }: LoginConfig): Promise<void> {
  if (credentialsPolicy !== 'source') return;
  const content = await readProvided(credentialsSource, credentialsLimit).catch(() => undefined);
  if (!content || judgeCredentials(content).kind !== 'valid') return;
  throw refused(
    `BERTH_CREDENTIALS_POLICY=source makes init replace it by the login of ${credentialsSource} at the next start`,
    'set it to `fresher`, or remove that login from the Secret',
  );
}

/** @returns the owner of the files, if this runs as root. @throws BerthError `volume_unwritable` */
async function checkVolume(
  { configDirectory, stateDirectory }: LoginConfig,
  asRoot: boolean,
): Promise<Owner | undefined> {
  const { uid, gid } = await lstat(configDirectory).catch((error: unknown) => {
    throw unwritable(configDirectory, error);
  });
  await makeDirectories(stateDirectory, 0o700).catch((error: unknown) => {
    throw unwritable(stateDirectory, error);
  });
  if (!(await lstat(stateDirectory)).isDirectory()) {
    throw unwritable(stateDirectory, new Error('it is not a directory'));
  }
  return asRoot && uid !== 0 ? { uid, gid } : undefined;
}

async function describe(config: LoginConfig, { refreshTokenExpiresAt }: Credentials) {
  const until = refreshTokenExpiresAt ? new Date(refreshTokenExpiresAt).toISOString() : undefined;
  const other = await otherLogin(config.inherited, config.configDirectory);
  return [
    '\nThe volume has the new login; the CLI uses it from its next turn on, without a restart.',
    until && `Log in again before ${until}: a refresh does not extend this time.`,
    other && `But ${other} has precedence: while it is set, the new login is not used.`,
    '',
  ]
    .filter((line) => line !== undefined)
    .join('\n');
}

async function otherLogin(environment: Environment, configDirectory: string) {
  const variable = loginVariable(environment);
  if (variable !== undefined) return variable;
  return (await settingsBringLogin(configDirectory)) ? 'the login in settings.json' : undefined;
}

function placeOf({ configDirectory, stateDirectory, credentialsSource: source }: LoginConfig) {
  return { configDirectory, stateDirectory, source };
}

function failed(cause: string): BerthError {
  const message = `cannot log in: ${cause}; nothing has changed, start it again`;
  return new BerthError('login_failed', message);
}

function refused(cause: string, remedy: string): BerthError {
  return new BerthError('config_invalid', `cannot log in: ${cause}; ${remedy}`);
}
