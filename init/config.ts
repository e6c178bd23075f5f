/**
 * The settings of berth-init: environment -> InitConfig.
 * Invariants: apart from main.ts, only this file of init reads the environment. A secret that was
 * read is never shown afterwards.
 */
import { z } from 'zod';
import {
  configDirectory,
  credentialsPolicy,
  credentialsSource,
  logLevel,
  logPretty,
  stateDirectory,
  stateDirectoryOf,
  terminationLog,
  workspaceDirectory,
} from '../shared/common-settings.ts';
import { type Environment, readSettings, setting } from '../shared/config.ts';
import { neverShow } from '../shared/redact.ts';
import {
  choice,
  duration,
  httpUrl,
  integer,
  type Listen,
  listen,
  path,
  size,
  text,
} from '../shared/setting-types.ts';
import { type CliTarball, cliDefinitions, cliOf, halfCli } from './cli/cli-settings.ts';
import { type GatewayConfig, gatewayDefinitions, gatewayOf } from './gateway/gateway-settings.ts';
import { type Repository, repositorySchema, usernameOf } from './git/repository.ts';
import { tokenPlaceOf } from './git/token-setting.ts';
import {
  type GitHubApp,
  githubAppDefinitions,
  githubAppOf,
  wrongLogin,
} from './github/github-app-settings.ts';
import { type ProposePaths, proposalDefinitions } from './proposals/settings.ts';

const largestId = 2 ** 31 - 1;

/** The rules of git for the name of a ref, roughly (git-check-ref-format). */
const refName = z.string().regex(/^(?!-)(?!.*(\.\.|@\{|\/\/))[^\s~^:?*[\\\p{Cc}]+$/u, {
  error: 'a branch, a tag or a commit id',
});

/** A relative path with slashes, without a slash at either end. */
const subdirectory = z.string().transform((value, context): string => {
  const parts = value.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.length > 0 && !parts.includes('..') && !value.includes('\\')) return parts.join('/');
  context.addIssue({ code: 'custom', message: 'a directory in the repository, such as claude' });
  return z.NEVER;
});

export const initDefinitions = {
  repository: setting({
    name: 'BERTH_REPO',
    schema: repositorySchema,
    description:
      'The private `.claude` repository: `owner/name` on GitHub, or the https URL of any git server.',
  }),
  ref: setting({
    name: 'BERTH_REF',
    schema: refName,
    optional: true,
    description:
      "A branch, a tag or a commit id (abbreviated only for GitHub); the default is the repository's default branch.",
  }),
  directory: setting({
    name: 'BERTH_REPO_PATH',
    schema: subdirectory,
    optional: true,
    description:
      'A directory of the repository, such as `claude` or `home/.claude`: only its content is written to the volume.',
  }),
  maxRepositoryBytes: setting({
    name: 'BERTH_MAX_REPO_BYTES',
    schema: size(1024 * 1024, 2 ** 40),
    default: '1Gi',
    description:
      'The maximum size of a download, and of all files of the repository. A larger repository is refused, and the volume stays unchanged.',
  }),
  localChanges: setting({
    name: 'BERTH_LOCAL_CHANGES',
    schema: choice('merge', 'discard'),
    default: 'merge',
    description:
      "What init does with tracked files that were edited on the volume. `merge`: an edit stays, and is merged with changes of upstream. `discard`: upstream's version replaces the edit at the next start, and a copy is saved in `.berth/conflicts/`. Executable configuration (settings, hooks, skills ...) is always handled as with `discard`.",
  }),
  invalidSettings: setting({
    name: 'BERTH_INVALID_SETTINGS',
    schema: choice('keep', 'fail'),
    default: 'keep',
    description:
      'What init does with a `settings.json` of the repository that the CLI would ignore, or in which the CLI would ignore a deny rule or a hook. `keep`: the last good file stays on the volume, and an error is logged; without a good file the invalid file is written, and the supervisor refuses prompts. `fail`: init fails, and the volume stays unchanged.',
  }),
  gitToken: setting({
    name: 'BERTH_GIT_TOKEN',
    aliases: ['GITHUB_PAT', 'GITHUB_TOKEN'],
    schema: text,
    optional: true,
    secret: true,
    description: 'The token that may read the repository (GitHub: "Contents: read").',
  }),
  gitUsername: setting({
    name: 'BERTH_GIT_USERNAME',
    schema: text,
    optional: true,
    description:
      'The user name sent with the token; the default is `x-access-token` for GitHub, `x-token-auth` for Bitbucket and `oauth2` elsewhere (GitLab; Gitea and Forgejo accept any name).',
  }),
  ...githubAppDefinitions,
  githubApiUrl: setting({
    name: 'BERTH_GITHUB_API_URL',
    schema: httpUrl,
    optional: true,
    description:
      "GitHub's API, which returns the cause when access fails; the default is `https://api.github.com` for github.com and none for other hosts. For Enterprise `https://HOST/api/v3`.",
  }),
  credentialsSource,
  credentialsLiveSource: setting({
    name: 'BERTH_CREDENTIALS_LIVE_SOURCE',
    schema: path,
    optional: true,
    description:
      'The file with the credentials that write-back stored after a refresh, in a separate Secret.',
  }),
  credentialsPolicy,
  ...cliDefinitions,
  configDirectory: configDirectory('/claude-config'),
  stateDirectory,
  workspaceDirectory,
  uid: setting({
    name: 'BERTH_UID',
    schema: integer(0, largestId),
    default: '1000',
    description:
      'The user of the CLI. If init runs as root, this user becomes the owner of the volume.',
  }),
  gid: setting({
    name: 'BERTH_GID',
    schema: integer(0, largestId),
    default: '1000',
    description:
      'The group of the CLI. If init runs as root, this group becomes the group of the volume.',
  }),
  leaseExpiry: setting({
    name: 'BERTH_LEASE_EXPIRY',
    schema: duration(100, 3_600_000),
    default: '10s',
    internal: true,
    description:
      'How long a holder of the volume may be silent before it counts as dead. Only for tests: the other programs on the volume renew their lease for the default value.',
  }),
  timeout: setting({
    name: 'BERTH_TIMEOUT',
    schema: duration(1_000, 24 * 3_600_000),
    default: '2m',
    description:
      'The deadline of the whole run, with the wait for the volume. The git server gets three quarters of the time that is left when it is contacted; the rest is for continuing without the git server.',
  }),
  onRemoteFailure: setting({
    name: 'BERTH_ON_REMOTE_FAILURE',
    schema: choice('continue', 'fail'),
    default: 'continue',
    description:
      'What to do when the git server fails: `continue` with a complete state of the same repository and ref if the volume has one, or `fail`.',
  }),
  ...gatewayDefinitions,
  syncInterval: setting({
    name: 'BERTH_SYNC_INTERVAL',
    schema: duration(1_000, 24 * 3_600_000),
    optional: true,
    description:
      'With a value, init stays after it has prepared the volume, as a sidecar: it checks the git server for a new commit at this interval, and writes the commit to the volume while sessions run. Without a value init ends after it has prepared the volume.',
  }),
  syncListen: setting({
    name: 'BERTH_SYNC_LISTEN',
    schema: listen,
    default: ':9092',
    description:
      'The address of /livez, /readyz, /metrics and /hooks/push of an init that stays, without a token.',
  }),
  ...proposalDefinitions,
  pushSecret: setting({
    name: 'BERTH_PUSH_SECRET',
    schema: text,
    optional: true,
    secret: true,
    description:
      'The secret of the webhook with which the git server reports a push to /hooks/push of an init that stays. Without it /hooks/push answers 404.',
  }),
  logLevel,
  logPretty,
  terminationLog,
};

export interface InitConfig {
  repository: Repository;
  ref: string | undefined;
  /** BERTH_REPO_PATH: the directory of the repository that is written to the volume. */
  directory: string | undefined;
  maxRepositoryBytes: number;
  localChanges: 'merge' | 'discard';
  invalidSettings: 'keep' | 'fail';
  token: string | undefined;
  /** Completes "put a token into ...". */
  tokenPlace: string;
  username: string;
  /** The GitHub App that creates the token, if no token is set. */
  githubApp: GitHubApp | undefined;
  /** Undefined if the repository has no GitHub API. */
  githubApiUrl: string | undefined;
  credentialsSource: string;
  credentialsLiveSource: string | undefined;
  credentialsPolicy: 'fresher' | 'source' | 'volume';
  /** The CLI to install on the volume; undefined for none. */
  cli: CliTarball | undefined;
  /** Where the CLI works, in the runtime container. */
  workspaceDirectory: string;
  configDirectory: string;
  stateDirectory: string;
  /** The owner of the volume. */
  owner: { uid: number; gid: number };
  /** Milliseconds. */
  leaseExpiry: number;
  /** Milliseconds for the whole run. */
  timeout: number;
  onRemoteFailure: 'continue' | 'fail';
  terminationLog: string;
  /** The gateway of an init that stays; undefined for none. */
  gateway: GatewayConfig | undefined;
  /** Milliseconds between two requests for the refs; undefined: init does not stay. */
  syncInterval: number | undefined;
  syncListen: Listen;
  /** The secret of the webhook. */
  pushSecret: string | undefined;
  /** Where new files are proposed; undefined if nothing is proposed. */
  proposePaths: ProposePaths;
}

export interface InitSettings {
  config: InitConfig;
  /** One sentence for each unknown BERTH_ variable. */
  warnings: string[];
  /** One sentence for each setting that works but should be changed. */
  advice: string[];
}

/** @throws BerthError `config_invalid` that lists every problem */
export function readInitConfig(environment: Environment): InitSettings {
  const { settings, warnings } = readSettings(initDefinitions, environment, (read) => [
    ...wrongLogin(read),
    ...halfCli(read),
  ]);
  const { repository, gitToken } = settings;
  neverShow(gitToken);
  neverShow(settings.pushSecret);
  const advice: string[] = [];
  const token = gitToken ?? repository.login?.token;
  if (repository.login) {
    const used = gitToken === undefined ? 'used' : 'ignored, because BERTH_GIT_TOKEN is set';
    advice.push(
      `BERTH_REPO holds a login, which is ${used}; remove it from the URL and put the token into BERTH_GIT_TOKEN`,
    );
  }
  const { protocol, hostname } = new URL(repository.url);
  if (token !== undefined && protocol === 'http:' && !isLoopback(hostname)) {
    advice.push('BERTH_REPO is an http URL: the token travels unencrypted; use https');
  }
  const gateway = gatewayOf(settings);
  if (gateway && settings.syncInterval === undefined) {
    advice.push(
      'BERTH_GATEWAY_REPOS and BERTH_GATEWAY_PUSH have no effect without BERTH_SYNC_INTERVAL: the gateway is a part of an init that stays; set BERTH_SYNC_INTERVAL',
    );
  }
  if (settings.proposeChanges && settings.syncInterval === undefined) {
    advice.push(
      'BERTH_PROPOSE_CHANGES has no effect without BERTH_SYNC_INTERVAL: proposals are a part of an init that stays; set BERTH_SYNC_INTERVAL',
    );
  }
  const githubApiUrl =
    settings.githubApiUrl ?? (repository.onGitHub ? 'https://api.github.com' : undefined);
  if (settings.proposeChanges && githubApiUrl === undefined) {
    advice.push(
      `BERTH_PROPOSE_CHANGES has no effect: ${repository.url} is not on GitHub; set BERTH_GITHUB_API_URL for GitHub Enterprise`,
    );
  }
  const urlUsername = gitToken === undefined ? repository.login?.username : undefined;
  return {
    config: {
      repository,
      ref: settings.ref,
      directory: settings.directory,
      maxRepositoryBytes: settings.maxRepositoryBytes,
      localChanges: settings.localChanges,
      invalidSettings: settings.invalidSettings,
      token,
      tokenPlace: tokenPlaceOf(initDefinitions.gitToken, environment),
      username:
        settings.gitUsername ?? urlUsername ?? usernameOf(repository, githubApiUrl !== undefined),
      githubApp: githubAppOf(settings),
      githubApiUrl,
      credentialsSource: settings.credentialsSource,
      credentialsLiveSource: settings.credentialsLiveSource,
      credentialsPolicy: settings.credentialsPolicy,
      cli: cliOf(settings),
      workspaceDirectory: settings.workspaceDirectory,
      configDirectory: settings.configDirectory,
      stateDirectory: stateDirectoryOf(settings),
      owner: { uid: settings.uid, gid: settings.gid },
      leaseExpiry: settings.leaseExpiry,
      timeout: settings.timeout,
      onRemoteFailure: settings.onRemoteFailure,
      terminationLog: settings.terminationLog,
      gateway,
      syncInterval: settings.syncInterval,
      syncListen: settings.syncListen,
      pushSecret: settings.pushSecret,
      proposePaths: settings.proposeChanges ? settings.proposePaths : undefined,
    },
    warnings,
    advice,
  };
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\./.test(hostname);
}
