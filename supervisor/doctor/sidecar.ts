/**
 * The checks of `berth doctor` in the container of `berth write-back`: it has other settings,
 * another mount of the volume, a Kubernetes token, and nothing that the supervisor needs.
 */
import { access, constants, lstat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Environment } from '../../shared/config.ts';
import {
  credentialsFileName,
  credentialsLimit,
  judgeCredentials,
} from '../../shared/credentials.ts';
import { messageOf } from '../../shared/errors.ts';
import { readFileBounded } from '../../shared/files.ts';
import { readWriteBackConfig, writeBackDefinitions } from '../config.ts';
import { absent, type Check, type Finding, failed, ok, warning } from './check.ts';
import { checkGithub } from './github.ts';
import { settingsFindings } from './settings.ts';
import { checkWriteBack } from './write-back.ts';

/**
 * Whether the Secret is named and no caller could authenticate: then `berth serve`, which may share
 * all other settings, would not start under Kubernetes.
 */
export function isWriteBackContainer(environment: Environment): boolean {
  const { BERTH_WRITE_BACK_SECRET: secret, KUBERNETES_SERVICE_HOST: host } = environment;
  return Boolean(secret && host && !environment.BERTH_API_TOKENS_FILE);
}

export function writeBackChecks(environment: Environment): Check[] {
  const read = settingsFindings(environment, () => readWriteBackConfig(environment));
  const configDirectory =
    read.config?.configDirectory ??
    (environment.BERTH_CONFIG_DIR || (writeBackDefinitions.configDirectory.default as string));
  const directory = read.config?.accountDirectory;
  const notHere = (name: string): Check => ({
    ...{ name, exit: 0 },
    run: async () => [
      absent(
        name,
        'not checked: this is the write-back container; run berth doctor in the container of berth serve',
      ),
    ],
  });
  return [
    { name: 'settings', exit: 64, run: async () => read.findings },
    { name: 'volume', exit: 73, run: () => checkVolume(configDirectory) },
    ...['login', 'cli', 'memory', 'egress'].map(notHere),
    { name: 'github', exit: 77, run: (signal) => checkGithub(environment, signal) },
    {
      ...{ name: 'write-back', exit: 77 },
      run: (signal) => checkWriteBack(environment, signal, { directory, needed: true }),
    },
    ...['claude-settings', 'commands', 'callbacks', 'server'].map(notHere),
  ];
}

/** The volume is mounted read-only, so only reading is checked. */
async function checkVolume(path: string): Promise<Finding[]> {
  const mount = 'mount the volume there, or set BERTH_CONFIG_DIR';
  const found = await lstat(path).catch((error: unknown) => error as Error);
  if (found instanceof Error) return [failed(path, found.message, mount)];
  if (!found.isDirectory()) return [failed(path, 'it is no directory', mount)];
  const own = 'run this container with the uid and the fsGroup of the runtime (1000)';
  try {
    await access(path, constants.R_OK | constants.X_OK);
  } catch (error) {
    return [failed(path, `it cannot be read: ${messageOf(error)}`, own)];
  }
  const file = join(path, credentialsFileName);
  return [ok(path, 'it can be read, which is enough here'), await checkLoginFile(file, own)];
}

/** Checks the login that would be written back. */
async function checkLoginFile(path: string, remedy: string): Promise<Finding> {
  try {
    const content = await readFileBounded(path, credentialsLimit);
    if (content === undefined) return absent(path, 'there is no login file: nothing to write back');
    const { kind } = judgeCredentials(content);
    if (kind === 'valid') return ok(path, 'the login file can be read');
    const help = 'run `berth doctor` in the container of berth serve to diagnose the login';
    return warning(path, `the login file is ${kind}: it is not written back`, help);
  } catch (error) {
    return failed(path, messageOf(error), remedy);
  }
}
