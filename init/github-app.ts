/**
 * The token of a GitHub App's installation: made for this run, for reading contents and nothing else.
 * Always holds: neither the private key nor the token leaves the memory of this process or is shown.
 */
import type { Dispatcher } from 'undici';
import { BerthError, messageOf } from '../shared/errors.ts';
import { neverShow } from '../shared/redact.ts';
import { answerOf, connect, limitOf } from './github-api.ts';
import type { GitHubApp } from './github-app-settings.ts';

export interface AppOptions {
  app: GitHubApp;
  apiUrl: string;
  dispatcher: Dispatcher;
  signal: AbortSignal;
  /** Milliseconds. */
  timeout?: number;
}

/**
 * A token that GitHub lets live for an hour.
 * @throws BerthError `remote_refused`, `remote_unavailable`
 */
export async function installationToken(options: AppOptions): Promise<string> {
  const { app, apiUrl, timeout = 15_000 } = options;
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(timeout)]);
  try {
    const { createAppAuth } = await import('@octokit/auth-app');
    const silent = () => undefined;
    const octokit = await connect({ ...options, token: undefined }, signal, {
      authStrategy: createAppAuth,
      auth: {
        appId: app.id,
        privateKey: app.privateKey,
        installationId: app.installationId,
        log: { warn: silent },
      },
    });
    const { token } = (await octokit.auth({
      type: 'installation',
      permissions: { contents: 'read', metadata: 'read' },
    })) as { token: string };
    neverShow(token);
    return token;
  } catch (error) {
    throw refusal(error, app, apiUrl);
  }
}

function refusal(error: unknown, app: GitHubApp, apiUrl: string): BerthError {
  const why = limitOf(error) ? undefined : causeOf(error, app);
  const what = `cannot get a token for the GitHub App ${app.id}`;
  return why === undefined
    ? new BerthError(
        'remote_unavailable',
        `${what} at ${apiUrl}: ${messageOf(error)}; try again later, and check the egress policy`,
        { cause: error },
      )
    : new BerthError('remote_refused', `${what}: ${why}`, { cause: error });
}

/** Cause and remedy if GitHub refuses for good. */
function causeOf(error: unknown, { id, installationId }: GitHubApp): string | undefined {
  const answer = answerOf(error);
  if (!answer) return undefined;
  const { status, text } = answer;
  if (status === 401 && /expiration|issued at|'iat'|'exp'/i.test(text)) {
    return "this node's clock differs from GitHub's; set the clock (NTP)";
  }
  if (status === 401) {
    return "GitHub does not accept the key's signature; put a private key of this very App into BERTH_GITHUB_APP_PRIVATE_KEY, and check BERTH_GITHUB_APP_ID";
  }
  if (status === 404 && /integration/i.test(text)) {
    return `there is no App ${id}; check BERTH_GITHUB_APP_ID, and BERTH_GITHUB_API_URL for Enterprise`;
  }
  if (status === 404) {
    return `the App has no installation ${installationId}; take the number at the end of the installation's address for BERTH_GITHUB_APP_INSTALLATION_ID`;
  }
  if (status === 403 && /suspended/i.test(text)) {
    return 'its installation is suspended; let the owner of the organisation resume it';
  }
  if (status === 422) {
    return 'it has not the repository permission "Contents: read"; give it that, and accept the change in the installation';
  }
  return status === 403 ? 'GitHub forbids it; see the App and its installation there' : undefined;
}
