/** Parses the arguments of `npm start`. */
import { accessSync, constants, statSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { Environment } from '../../shared/config.ts';

export interface StartOptions {
  /** The user's repository; absent means the sample. */
  repository: string | undefined;
  ref: string | undefined;
  /** The credentials file for the CLI's login. */
  credentials: string | undefined;
  /** A single prompt; everything stops after its answer. */
  ask: string | undefined;
  help: boolean;
}

export const help = `npm start -- [options]

  --ask TEXT          send one prompt, print the JSON answer, stop
  --repo URL          your own .claude repository: owner/name or an https URL
                      (its token from GITHUB_PAT or BERTH_GIT_TOKEN)
  --ref REF           a branch, a tag or a commit of the repository
  --credentials FILE  log the CLI in with this .credentials.json
  --help

With ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN in the environment, or --credentials, the prompts go
to Anthropic. Otherwise a stand-in on this machine answers instead of the model.
Settings of berth (BERTH_*, docs/configuration.md) and of the CLI in the environment apply too.
npm start prints each ignored setting with the reason.
`;

const remedy = 'see npm start -- --help';

/**
 * An option has priority over the equal setting of berth.
 * @throws Error that names an unknown option or an unreadable file, and the remedy
 */
export function readOptions(argumentsGiven: readonly string[], shell: Environment): StartOptions {
  const values = parse(argumentsGiven);
  const repository = values.repo ?? (shell.BERTH_REPO || undefined);
  const credentials = values.credentials ?? (shell.BERTH_CREDENTIALS_SOURCE || undefined);
  if (credentials !== undefined && !values.help) requireReadable(credentials);
  return {
    repository,
    // A ref of the user's repository does not exist in the sample.
    ref: values.ref ?? (repository && shell.BERTH_REF ? shell.BERTH_REF : undefined),
    credentials,
    ask: values.ask,
    help: values.help ?? false,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        ask: { type: 'string' },
        repo: { type: 'string' },
        ref: { type: 'string' },
        credentials: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    throw new Error(`${cause.replace(/\.$/, '')}; ${remedy}`, { cause: error });
  }
}

function requireReadable(path: string): void {
  const problem = problemOf(path);
  if (problem) throw new Error(`cannot read the credentials ${path}: ${problem}; ${remedy}`);
}

function problemOf(path: string): string | undefined {
  try {
    accessSync(path, constants.R_OK);
    return statSync(path).isFile() ? undefined : 'it is not a file';
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' ? 'there is no such file' : code;
  }
}
