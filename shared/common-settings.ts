/** The settings that both programs have, with the same meaning in each. */
import { join } from 'node:path';
import { setting } from './config.ts';
import { choice, flag, path } from './setting-types.ts';

export const stateDirectory = setting({
  name: 'BERTH_STATE_DIR',
  schema: path,
  optional: true,
  description: "berth's own state; the default is `.berth` in BERTH_CONFIG_DIR.",
});

export const logLevel = setting({
  name: 'BERTH_LOG_LEVEL',
  schema: choice('debug', 'info', 'warn', 'error'),
  default: 'info',
  description: 'The least severe level that is logged.',
});

export const logPretty = setting({
  name: 'BERTH_LOG_PRETTY',
  schema: flag,
  default: 'false',
  description: 'Log short lines for a person at a terminal instead of JSON.',
});

export const terminationLog = setting({
  name: 'BERTH_TERMINATION_LOG',
  schema: path,
  default: '/dev/termination-log',
  description: 'Where one line of cause and remedy goes on failure, if that file exists.',
});

export const workspaceDirectory = setting({
  name: 'BERTH_WORKSPACE_DIR',
  schema: path,
  default: '/workspace',
  description:
    "The CLI's working directory as the runtime container sees it; the supervisor makes it if it is not there, and init marks it as trusted. Give both the same.",
});

export const credentialsSource = setting({
  name: 'BERTH_CREDENTIALS_SOURCE',
  schema: path,
  default: '/secrets/credentials.json',
  description:
    "The CLI's OAuth credentials as a person provides them, usually a mounted Secret; the file may be missing. It wins whenever it changes; unchanged, it never replaces what the CLI refreshed. On a first run over other credentials the later expiry wins.",
});

export const credentialsPolicy = setting({
  name: 'BERTH_CREDENTIALS_POLICY',
  schema: choice('fresher', 'source', 'volume'),
  default: 'fresher',
  description:
    'Which credentials win. `fresher`: a source that a person changed, otherwise those that end later. `source`: the source at every start, even if the CLI has refreshed its login since (a refresh token works once, so this loses logins). `volume`: those on the volume as long as they can be used. Blank, torn and just refused ones never win.',
});

/** The configuration directory; each program mounts the volume somewhere else. */
export const configDirectory = (mountedAt: string) =>
  setting({
    name: 'BERTH_CONFIG_DIR',
    schema: path,
    default: mountedAt,
    description: "The volume: the CLI's configuration directory (its CLAUDE_CONFIG_DIR).",
  });

/** Where berth's own state lies, given the two settings. */
export function stateDirectoryOf(settings: {
  configDirectory: string;
  stateDirectory: string | undefined;
}): string {
  return settings.stateDirectory ?? join(settings.configDirectory, '.berth');
}
