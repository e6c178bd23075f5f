/**
 * The environment of a CLI process: what it needs, and its own settings, by name
 * (cli-variables.ts) and by prefix.
 * Always holds: no setting of berth and no secret of the supervisor is in it, and of logins just the
 * one that it uses. The CLI runs tools that a model chose, and they can read all of it.
 */
import type { Environment } from '../../shared/config.ts';
import { cliVariables, type IgnoredVariable, ignoredVariables } from './cli-variables.ts';
import { inheritedLogin } from './inherited-login.ts';
import { longestSessionEnd, sessionEndVariable } from './session-end.ts';

/** Taken over as they are. */
export const handedNames: readonly string[] = [
  'PATH',
  'HOME',
  'USER',
  'LANG',
  'LC_ALL',
  'TZ',
  'TMPDIR',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'NODE_EXTRA_CA_CERTS',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  ...cliVariables,
];

/**
 * The CLI's own settings, and those of OpenTelemetry, which it exports by. What of it is a login,
 * inherited-login.ts decides.
 */
export const handedPrefixes: readonly string[] = ['ANTHROPIC_', 'CLAUDE_CODE_', 'OTEL_'];

/**
 * Set whatever the container says: nothing leaves it but what the model needs. None of these keeps the
 * CLI (2.1.330) from exporting OpenTelemetry to the operator's own collector, where
 * CLAUDE_CODE_ENABLE_TELEMETRY asks for it.
 */
const fixed = {
  CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
  // The files that a text mentions (`@/etc/passwd`) are not read. Those in a prompt are not anyway
  // (protocol.ts), but those in the arguments of a command would be, and of a skill that the model
  // calls, whatever tools are allowed. CLAUDE.md may still import files.
  CLAUDE_CODE_DISABLE_FILE_MENTIONS: '1',
  DISABLE_AUTOUPDATER: '1',
  DISABLE_TELEMETRY: '1',
  DISABLE_ERROR_REPORTING: '1',
};

/** What a loader or a runtime would execute, in the CLI and in all that it starts. */
const loading = /^(LD_|DYLD_|BUN_|NODE_OPTIONS$|BASH_ENV$|ENV$)/;

/** Whether a profile must leave that name alone: berth sets it, or it would change what runs. */
export function isReserved(name: string): boolean {
  return (
    name.startsWith('BERTH_') ||
    name === 'CLAUDE_CONFIG_DIR' ||
    Object.hasOwn(fixed, name) ||
    loading.test(name)
  );
}

/**
 * @param inherited the supervisor's own environment
 * @param worker the worker's name; marks every process that descends from it
 * @param profile what the worker's profile adds
 */
export function cliEnvironment(
  inherited: Environment,
  configDirectory: string,
  worker: string,
  profile: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const environment: Record<string, string> = {};
  const isLogin = inheritedLogin(inherited, profile);
  for (const [name, value] of Object.entries(inherited)) {
    if ((isLogin(name) ?? isHandedOver(name)) && value !== undefined) environment[name] = value;
  }
  // Without HOME and without a passwd entry the CLI crashes; a HOME that does not exist is fine.
  environment.HOME ??= '/nonexistent';
  environment[sessionEndVariable] ??= String(longestSessionEnd);
  return {
    ...environment,
    ...profile,
    ...fixed,
    ...marksOf(configDirectory, worker),
  };
}

function isHandedOver(name: string): boolean {
  return handedNames.includes(name) || handedPrefixes.some((prefix) => name.startsWith(prefix));
}

/** The variables of the container that look like settings of the CLI and do not reach it. */
export function ignoredByCli(inherited: Environment): IgnoredVariable[] {
  return ignoredVariables(inherited, (name) => isHandedOver(name) && !Object.hasOwn(fixed, name));
}

/** What every process that descends from a worker has in its environment, unless it cleans it. */
export function marksOf(configDirectory: string, worker: string) {
  return { CLAUDE_CONFIG_DIR: configDirectory, BERTH_WORKER: worker };
}
