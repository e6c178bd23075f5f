/**
 * A small configuration with known texts, and a made-up login, for the self-test of a CLI.
 * Invariants: the environment has no proxy, no login and no service of the container; the logins of the container
 * and of the profiles only decide which kind of login is made up.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Environment } from '../../shared/config.ts';
import { makeDirectories } from '../../shared/files.ts';
import { bringsLogin, loginSecrets, loginVariable } from '../../shared/login-variables.ts';

/** A variable with a login, or the login file. */
export type LoginKind = (typeof loginSecrets)[number] | 'login file';

/** Variables that the process needs from the container; others could direct it to another API. */
const kept = ['PATH', 'HOME', 'USER', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR'];

export const instructions = 'berth-self-test: instructions of CLAUDE.md';
export const skill = 'berth-self-test: description of a skill';

const madeUp = 'sk-ant-self-test-no-key';

/** The kind of login that these variables bring; that of another service cannot be tested. */
export function loginKindOf(values: Readonly<Record<string, unknown>>): LoginKind {
  const variable = loginVariable(values);
  if (variable === undefined) return 'login file';
  return loginSecrets.includes(variable) ? variable : 'ANTHROPIC_API_KEY';
}

/**
 * The kinds that the processes of these profiles use.
 * @param bySettings whether settings.json brings a login
 */
export function loginKindsOf(
  inherited: Environment,
  profiles: readonly Readonly<Record<string, unknown>>[],
  bySettings: boolean,
): LoginKind[] {
  const common = bySettings ? 'ANTHROPIC_API_KEY' : loginKindOf(inherited);
  const own = profiles.map((values) => (bringsLogin(values) ? loginKindOf(values) : common));
  return [...new Set(own.length > 0 ? own : [common])];
}

export interface TestConfiguration {
  /** The environment that the process inherits. */
  environment: Environment;
  /** The login that each request must have. */
  login: string;
}

/** Writes the configuration into an empty directory. */
export async function writeTestConfiguration(
  directory: string,
  apiUrl: string,
  kind: LoginKind,
  inherited: Environment,
): Promise<TestConfiguration> {
  const settings = { permissions: { defaultMode: 'acceptEdits' } };
  await writeFile(join(directory, 'settings.json'), JSON.stringify(settings));
  const folder = join(directory, 'skills/berth-self-test');
  await makeDirectories(folder);
  await writeFile(join(directory, 'CLAUDE.md'), `${instructions}\n`);
  const head = `---\nname: berth-self-test\ndescription: "${skill}"\n---\n`;
  await writeFile(join(folder, 'SKILL.md'), `${head}Nothing to do.\n`);
  if (kind === 'login file') await writeLoginFile(directory);
  return {
    environment: {
      ...Object.fromEntries(kept.map((name) => [name, inherited[name]])),
      ANTHROPIC_BASE_URL: apiUrl,
      // With a login of a person the CLI also requests the account, from a host of its own.
      HTTPS_PROXY: apiUrl,
      NO_PROXY: '127.0.0.1',
      CLAUDE_CODE_MAX_RETRIES: '0',
      ...(kind === 'login file' ? {} : { [kind]: madeUp }),
    },
    login: madeUp,
  };
}

async function writeLoginFile(directory: string): Promise<void> {
  const claudeAiOauth = {
    accessToken: madeUp,
    refreshToken: 'sk-ant-self-test-no-refresh-token',
    // So far ahead that the CLI does not refresh it.
    expiresAt: Date.now() + 24 * 3_600_000,
    scopes: ['user:inference', 'user:profile'],
    subscriptionType: 'max',
  };
  const text = JSON.stringify({ claudeAiOauth });
  await writeFile(join(directory, '.credentials.json'), text, { mode: 0o600 });
}
