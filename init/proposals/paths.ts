/**
 * The paths that may be proposed upstream: tracked files, and new files below BERTH_PROPOSE_PATHS.
 * Invariant: logins, transcripts, berth's state, keys, files of the CLI itself and workflows of CI are
 * never proposed, whatever the setting lists and whatever is tracked.
 */
import { z } from 'zod';
import { unsafePath } from '../volume/paths.ts';

/** Names of files that usually hold a secret. */
const secretNames =
  /^(\.env.*|.*\.(pem|key|p12|pfx|kdbx|keystore)|id_(rsa|dsa|ecdsa|ed25519)|\.?credentials.*|\.netrc|\.npmrc|\.pypirc|\.git-credentials|.*\.jsonl)$/i;

/** Directories and files at the root that the CLI writes for itself: transcripts, history, caches. */
const ofTheCli =
  /^(\.berth|projects|todos|sessions|session-env|shell-snapshots|file-history|paste-cache|statsig|telemetry|debug|backups|history)(\.|\/|$)/i;

const memoryFolder = /^projects\/-[A-Za-z0-9-]*\/memory\//;

/** Workflows of CI: a branch that changes them could run them with the secrets of the repository. */
const workflows =
  /(^|\/)(\.(github|gitea|forgejo|circleci|woodpecker|buildkite|gitlab)\/|(\.gitlab-ci|\.travis|\.drone|\.woodpecker|azure-pipelines|bitbucket-pipelines)\.ya?ml$|jenkinsfile$|\.gitmodules$)/i;

/** Temporary files of editors and of the CLI's own tools. */
const temporary = /(\.tmp(\.|$)|~$|\.sw[op]$|\.bak$|^\.#)/;

/** Without control characters, quotes and Markdown: the names appear in a pull request. */
const plainName = /^[\p{L}\p{N}\p{M} ._+=,()-]{1,255}$/u;
/** The CLI's folder of a working directory has up to 210 characters. */
const longest = 500;

/** Why a path of the volume is never proposed; undefined if it may be. */
export function neverProposed(path: string): string | undefined {
  const parts = path.split('/');
  if (unsafePath(path) !== undefined) return 'it is reserved';
  if (path.length > longest || !parts.every((part) => plainName.test(part))) {
    return 'its name is not plain';
  }
  if (ofTheCli.test(path) && !memoryFolder.test(path)) return 'it is a file of the CLI itself';
  if (/^skills\/synced\//i.test(path)) return 'it is a file of the CLI itself';
  if (parts.some((part) => secretNames.test(part))) return 'its name is that of a secret';
  if (workflows.test(path)) return 'it is a workflow of CI';
  if (temporary.test(parts.at(-1) ?? '')) return 'it is a temporary file';
  return undefined;
}

/** BERTH_PROPOSE_PATHS: paths of the repository, below BERTH_REPO_PATH. A directory ends with a slash. */
export const proposePaths = z.string().transform((text, context): string[] => {
  const paths = text
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '');
  for (const path of paths) {
    const bare = path.replace(/\/$/, '');
    const why = neverProposed(path.endsWith('/') ? `${bare}/file` : bare);
    if (why === undefined) continue;
    context.addIssue({
      code: 'custom',
      message: `paths, separated by commas; not ${path}: ${why}`,
    });
    return z.NEVER;
  }
  return paths;
});

/** Whether the setting lists a path of the repository, below BERTH_REPO_PATH. */
export function isListed(path: string, listed: readonly string[]): boolean {
  return listed.some((one) => (one.endsWith('/') ? path.startsWith(one) : path === one));
}
