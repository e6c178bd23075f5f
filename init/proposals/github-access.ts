/**
 * GitHub's API with the login of init, for one pass of proposals.
 * Invariants: the login is read again for each pass. A token of a GitHub App has only the rights that
 * a pull request needs. No connection stays open afterwards.
 */
import { BerthError } from '../../shared/errors.ts';
import type { InitConfig } from '../config.ts';
import { openDispatcher } from '../git/transport.ts';
import type { GitHub } from '../github/github-api.ts';

const permissions = { contents: 'write', pull_requests: 'write', metadata: 'read' } as const;

/** @throws BerthError `not_supported`, `remote_refused`, `remote_unavailable` */
export async function withGitHub<T>(
  config: InitConfig,
  signal: AbortSignal,
  work: (github: GitHub) => Promise<T>,
): Promise<T> {
  const { githubApiUrl: apiUrl, githubApp: app, repository, ref } = config;
  const { path } = repository;
  if (apiUrl === undefined) {
    throw new BerthError(
      'not_supported',
      `cannot propose changes: ${repository.url} is not on GitHub; set BERTH_GITHUB_API_URL for GitHub Enterprise, or unset BERTH_PROPOSE_CHANGES`,
    );
  }
  if (ref !== undefined && /^([0-9a-f]{7,40}|refs\/(?!heads\/).*)$/.test(ref)) {
    throw new BerthError(
      'not_supported',
      `cannot propose changes: BERTH_REF=${ref} is no branch; set a branch, or unset BERTH_PROPOSE_CHANGES`,
    );
  }
  const dispatcher = openDispatcher();
  try {
    const options = { app, apiUrl, path, dispatcher, signal };
    const token = app ? await appToken({ ...options, app }) : config.token;
    if (token === undefined) {
      throw new BerthError(
        'remote_refused',
        `cannot propose changes: there is no token; put a token with "Contents: write" and "Pull requests: write" into ${config.tokenPlace}`,
      );
    }
    return await work({ apiUrl, path, token, dispatcher, signal });
  } finally {
    await dispatcher.destroy();
  }
}

type AppOptions = Parameters<typeof import('../github/github-app.ts').installationToken>[0];

async function appToken(options: AppOptions): Promise<string> {
  const { installationToken } = await import('../github/github-app.ts');
  return installationToken({ ...options, permissions });
}

/** The base of the pull request; undefined for the default branch. */
export function branchOf(ref: string | undefined): string | undefined {
  return ref?.replace(/^refs\/heads\//, '');
}
