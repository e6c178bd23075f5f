/**
 * The environment of a CLI process: the variables that it needs, and its own settings, by name
 * (cli-variables.ts) and by prefix.
 * Invariants: no setting of berth and no secret of the supervisor is in it, and only the login that
 * the process uses. The CLI runs tools that a model selects, and these tools can read the whole
 * environment.
 */
import type { Environment } from '../../shared/config.ts';
import { cliVariables, type IgnoredVariable, ignoredVariables } from './cli-variables.ts';
import { inheritedLogin } from './inherited-login.ts';
import { longestSessionEnd, sessionEndVariable } from './session-end.ts';

/** Variables that are passed unchanged. */
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
 * The CLI's own settings, and those of OpenTelemetry, through which the CLI exports.
 * inherited-login.ts decides about logins.
 */
export const handedPrefixes: readonly string[] = ['ANTHROPIC_', 'CLAUDE_CODE_', 'OTEL_'];

/**
 * Always set, whatever the container sets: only the model's traffic leaves the container. With
 * CLAUDE_CODE_ENABLE_TELEMETRY the CLI (2.1.330) still exports OpenTelemetry to the operator's
 * collector.
 */
const fixed = {
  CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
  // Files that a text mentions (`@/etc/passwd`) are not read. Mentions in a prompt are never read
  // (protocol.ts). Mentions in the arguments of a command, or of a skill that the model calls,
  // would be read without this, whatever tools are allowed. CLAUDE.md may still import files.
  CLAUDE_CODE_DISABLE_FILE_MENTIONS: '1',
  DISABLE_AUTOUPDATER: '1',
  DISABLE_TELEMETRY: '1',
  DISABLE_ERROR_REPORTING: '1',
};

/** Variables that make a loader or a runtime execute code, in the CLI and its children. */
const loading = /^(LD_|DYLD_|BUN_|NODE_OPTIONS$|BASH_ENV$|ENV$)/;

/** Whether a profile must not set the variable: berth sets it, or it would change what runs. */
export function isReserved(name: string): boolean {
  return (
    name.startsWith('BERTH_') ||
    name === 'CLAUDE_CONFIG_DIR' ||
    Object.hasOwn(fixed, name) ||
    loading.test(name)
  );
}

/**
 * Builds the environment.
 * @param inherited the supervisor's own environment
 * @param worker the worker's name; marks every process that descends from the worker
 * @param profile the variables of the worker's profile
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

/** Variables that every descendant of a worker carries, unless it cleans its environment. */
export function marksOf(configDirectory: string, worker: string) {
  return { CLAUDE_CONFIG_DIR: configDirectory, BERTH_WORKER: worker };
}
