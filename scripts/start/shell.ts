/**
 * Which variables of the person's shell the programs are given, and which not, with the reason.
 * Always holds: every `BERTH_` variable of the shell is either handed on or named with its reason.
 */
import type { Environment } from '../../shared/config.ts';
import { asksFor, loginSecrets, providers } from '../../shared/login-variables.ts';
import { handedNames, handedPrefixes, ignoredByCli } from '../../supervisor/claude/environment.ts';

export interface ShellVariables {
  /** For both programs. */
  settings: Record<string, string>;
  /** For the supervisor, which hands them to the CLI. */
  cli: Record<string, string>;
  notTaken: { name: string; reason: string }[];
}

const reasons: readonly [RegExp, string][] = [
  [/^BERTH_(CONFIG_DIR|STATE_DIR)$/, 'the volume is a temporary directory, removed at the end'],
  [/^BERTH_(UID|GID)$/, 'the files on the volume are yours'],
  [/^BERTH_API_TOKENS?(_FILE)?$/, 'a token is made for this run'],
  [/^BERTH_LOG_(LEVEL|PRETTY)$/, 'npm start reads the log itself, and shows warnings and errors'],
  [
    /^BERTH_CLAUDE_(TARBALL|INTEGRITY)$/,
    'the CLI of node_modules is run; BERTH_CLAUDE_PATH names another',
  ],
  [
    /^BERTH_(WRITE_BACK_|KUBERNETES_|CREDENTIALS_LIVE_SOURCE|TERMINATION_LOG)/,
    'nothing of Kubernetes runs here',
  ],
];

const ofTheRepository = /^BERTH_(REF|REPO_PATH|GIT_|GITHUB_)/;
const ofAClaudeSession = /^CLAUDE_CODE_(?!USE_|OAUTH_TOKEN$)/;
const ofACloud = /^(AWS|AZURE|CLOUD_ML|GCLOUD|GOOGLE|VERTEX)_/;

/** @param ownRepository false where the sample is served */
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
  return 'the sample repository is used; name yours by --repo or BERTH_REPO';
}

function isOfCli(name: string, shell: Environment): boolean {
  if (loginSecrets.includes(name)) return true;
  if (ofACloud.test(name)) return providers.some((provider) => asksFor(shell, provider));
  // A terminal of Claude Code: these are about the session that it runs.
  if (shell.CLAUDECODE && ofAClaudeSession.test(name)) return false;
  return handedNames.includes(name) || handedPrefixes.some((prefix) => name.startsWith(prefix));
}
