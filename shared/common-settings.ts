/** Settings that both programs have, with the same meaning. */
import { join, relative } from 'node:path';
import { setting } from './config.ts';
import { BerthError } from './errors.ts';
import { choice, flag, path } from './setting-types.ts';

export const stateDirectory = setting({
  name: 'BERTH_STATE_DIR',
  schema: path,
  optional: true,
  description:
    "The directory of berth's own state; the default is `.berth` in BERTH_CONFIG_DIR. In BERTH_CONFIG_DIR its name begins with `.berth`: the repository has no such path.",
});

export const logLevel = setting({
  name: 'BERTH_LOG_LEVEL',
  schema: choice('debug', 'info', 'warn', 'error'),
  default: 'info',
  description: 'The lowest level that is logged.',
});

export const logPretty = setting({
  name: 'BERTH_LOG_PRETTY',
  schema: flag,
  default: 'false',
  description: 'Log short lines for a person at a terminal, not JSON.',
});

export const terminationLog = setting({
  name: 'BERTH_TERMINATION_LOG',
  schema: path,
  default: '/dev/termination-log',
  description:
    'The file that receives one line with cause and remedy on failure, if the file exists.',
});

export const workspaceDirectory = setting({
  name: 'BERTH_WORKSPACE_DIR',
  schema: path,
  default: '/workspace',
  description:
    "The CLI's working directory, as the runtime container sees it. The supervisor creates the directory if it is absent, and init marks it as trusted. Both containers need the same value.",
});

export const credentialsSource = setting({
  name: 'BERTH_CREDENTIALS_SOURCE',
  schema: path,
  default: '/secrets/credentials.json',
  description:
    "The file with the CLI's OAuth credentials from a person, usually a mounted Secret. The file may be absent. A changed file always wins. An unchanged file never replaces credentials that the CLI refreshed. On a first run with other credentials on the volume, the later expiry wins.",
});

export const credentialsPolicy = setting({
  name: 'BERTH_CREDENTIALS_POLICY',
  schema: choice('fresher', 'source', 'volume'),
  default: 'fresher',
  description:
    'Which credentials win. `fresher`: a source that a person changed, otherwise the credentials with the later expiry. `source`: the source at every start, even if the CLI has refreshed its login since (a refresh token works once, so this loses logins). `volume`: the credentials on the volume, as long as they are usable. Blank, torn and recently refused credentials never win.',
});

/** The setting of the configuration directory. Each program mounts the volume at another path. */
export const configDirectory = (mountedAt: string) =>
  setting({
    name: 'BERTH_CONFIG_DIR',
    schema: path,
    default: mountedAt,
    description: "The volume: the CLI's configuration directory (its CLAUDE_CONFIG_DIR).",
  });

/**
 * The directory of berth's own state, for the values of the two settings.
 * @throws BerthError `config_invalid` if the repository could write into that directory
 */
export function stateDirectoryOf({
  configDirectory,
  stateDirectory,
}: {
  configDirectory: string;
  stateDirectory: string | undefined;
}): string {
  const path = stateDirectory ?? join(configDirectory, '.berth');
  const [first = ''] = relative(configDirectory, path).split('/');
  if (first.startsWith('.berth') || first === '..') return path;
  const text = `cannot use BERTH_STATE_DIR=${path}: a repository may have files at that path of BERTH_CONFIG_DIR; use a name that begins with .berth, or a directory outside of it`;
  throw new BerthError('config_invalid', text);
}
