/**
 * Decides which variables of the user's shell the programs get.
 * Invariant: every `BERTH_` variable of the shell is either passed on, or reported with the reason.
 */
import type { Environment } from '../../shared/config.ts';
import { loginSecrets, providers, selectsProvider } from '../../shared/login-variables.ts';
import { handedNames, handedPrefixes, ignoredByCli } from '../../supervisor/claude/environment.ts';

export interface ShellVariables {
  /** Settings of both programs. */
  settings: Record<string, string>;
  /** Variables for the supervisor, which passes them to the CLI. */
  cli: Record<string, string>;
  notTaken: { name: string; reason: string }[];
}

const reasons: readonly [RegExp, string][] = [
  [/^BERTH_(CONFIG_DIR|STATE_DIR)$/, 'the volume is a temporary directory, removed at the end'],
  [/^BERTH_(UID|GID)$/, 'the files on the volume are yours'],
  [/^BERTH_API_TOKENS?(_FILE)?$/, 'a token is made for this run'],
  [/^BERTH_LOG_(LEVEL|PRETTY)$/, 'npm start parses the log, and shows warnings and errors'],
  [
    /^BERTH_CLAUDE_(TARBALL|INTEGRITY)$/,
    'the CLI of node_modules is used; set BERTH_CLAUDE_PATH to use another',
  ],
  [
    /^BERTH_(WRITE_BACK_|KUBERNETES_|CREDENTIALS_LIVE_SOURCE|TERMINATION_LOG)/,
    'there is no Kubernetes in this run',
  ],
];

const ofTheRepository = /^BERTH_(REF|REPO_PATH|GIT_|GITHUB_)/;
const ofAClaudeSession = /^CLAUDE_CODE_(?!USE_|OAUTH_TOKEN$)/;
const ofACloud = /^(AWS|AZURE|CLOUD_ML|GCLOUD|GOOGLE|VERTEX)_/;

/** @param ownRepository false if the sample is served */
export function shellVariables(shell: Environment, ownRepository: boolean): ShellVariables {
  const taken: ShellVariables = { settings: {}, cli: {}, notTaken: ignoredByCli(shell) };
  for (const [name, value] of Object.entries(shell)) {
    if (!value) continue;
    const reason = name.startsWith('BERTH_') ? reasonAgainst(name, ownRepository) : undefined;
    if (reason !== undefined) taken.notTaken.push({ name, reason });
    else if (name.startsWith('BERTH_')) taken.settings[name] = value;
    else if (isOfCli(name, shell)) taken.cli[name] = value;
  }
  return taken;
}

function reasonAgainst(name: string, ownRepository: boolean): string | undefined {
  const base = name.replace(/_FILE$/, '');
  const reason = reasons.find(([pattern]) => pattern.test(name) || pattern.test(base))?.[1];
  if (reason !== undefined || ownRepository || !ofTheRepository.test(name)) return reason;
  return 'the sample repository is used; set yours with --repo or BERTH_REPO';
}

function isOfCli(name: string, shell: Environment): boolean {
  if (loginSecrets.includes(name)) return true;
  if (ofACloud.test(name)) return providers.some((provider) => selectsProvider(shell, provider));
  // In a terminal of Claude Code, these variables belong to that session.
  if (shell.CLAUDECODE && ofAClaudeSession.test(name)) return false;
  return handedNames.includes(name) || handedPrefixes.some((prefix) => name.startsWith(prefix));
}
