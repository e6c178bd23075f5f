/**
 * The token of a GitHub App's installation: for one repository, and with the permissions that the caller
 * names.
 * Invariant: neither the private key nor the token leaves the memory of this process or is shown.
 */
import type { Dispatcher } from 'undici';
import { BerthError, messageOf } from '../../shared/errors.ts';
import { neverShow } from '../../shared/redact.ts';
import { answerOf, connect, limitOf } from './github-api.ts';
import type { GitHubApp } from './github-app-settings.ts';

/** As GitHub's API names them: `contents: 'read'`. */
export type AppPermissions = Readonly<Record<string, 'read' | 'write'>>;

export interface AppOptions {
  app: GitHubApp;
  apiUrl: string;
  /** `owner/name`: the repository of the token. */
  path: string;
  dispatcher: Dispatcher;
  signal: AbortSignal;
  /** Read access to the contents if absent. */
  permissions?: AppPermissions;
  /** Milliseconds. */
  timeout?: number;
}

/**
 * A token with a lifetime of one hour.
 * @throws BerthError `remote_refused`, `remote_unavailable`
 */
export async function installationToken(options: AppOptions): Promise<string> {
  const { app, apiUrl, path, permissions = readContents, timeout = 15_000 } = options;
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
    const make: Make = async (request) => {
      const { token } = (await octokit.auth({ type: 'installation', ...request })) as Made;
      neverShow(token);
      return token;
    };
    const readOnly = (repository: string) =>
      make({ permissions, repositoryNames: [nameOf(repository)] });
    return await readOnly(path).catch(async (error) => {
      const renamed = isNotInstalled(error) ? await presentName(make, options, signal) : undefined;
      if (renamed === undefined) throw error;
      return readOnly(renamed);
    });
  } catch (error) {
    throw refusal(error, { app, apiUrl, path, permissions });
  }
}

const readContents: AppPermissions = { contents: 'read', metadata: 'read' };

type Made = { token: string };
type Make = (request: Record<string, unknown>) => Promise<string>;

const nameOf = (path: string): string => path.split('/')[1] ?? '';

/** GitHub's response for a name that the installation does not cover. */
function isNotInstalled(error: unknown): boolean {
  const answer = answerOf(error);
  return answer?.status === 422 && /repositor(y|ies)/i.test(answer.text);
}

/** The current name of a renamed repository: a former name gets no token. */
async function presentName(
  make: Make,
  options: AppOptions,
  signal: AbortSignal,
): Promise<string | undefined> {
  const [owner = '', repo = ''] = options.path.split('/');
  const token = await make({ permissions: { metadata: 'read' } });
  const octokit = await connect({ ...options, token }, signal);
  const found = await octokit.rest.repos.get({ owner, repo }).catch(() => undefined);
  const name = found?.data.full_name;
  return name === undefined || nameOf(name) === repo ? undefined : name;
}

type Refused = Required<Pick<AppOptions, 'app' | 'apiUrl' | 'path' | 'permissions'>>;

function refusal(error: unknown, refused: Refused): BerthError {
  const { app, apiUrl } = refused;
  const why = limitOf(error) ? undefined : causeOf(error, refused);
  const what = `cannot get a token for the GitHub App ${app.id}`;
  return why === undefined
    ? new BerthError(
        'remote_unavailable',
        `${what} at ${apiUrl}: ${messageOf(error)}; try again later, and check the egress policy`,
        { cause: error },
      )
    : new BerthError('remote_refused', `${what}: ${why}`, { cause: error });
}

/** Cause and remedy of a permanent refusal. */
function causeOf(
  error: unknown,
  { app: { id, installationId }, path, permissions }: Refused,
): string | undefined {
  const answer = answerOf(error);
  if (!answer) return undefined;
  const { status, text } = answer;
  if (status === 401 && /expiration|issued at|'iat'|'exp'/i.test(text)) {
    return "this node's clock differs from GitHub's; set the clock (NTP)";
  }
  if (status === 401) {
    return "GitHub does not accept the key's signature; put a private key of this App into BERTH_GITHUB_APP_PRIVATE_KEY, and check BERTH_GITHUB_APP_ID";
  }
  if (status === 404 && /integration/i.test(text)) {
    return `there is no App ${id}; check BERTH_GITHUB_APP_ID, and BERTH_GITHUB_API_URL for Enterprise`;
  }
  if (status === 404) {
    return `the App has no installation ${installationId}; set BERTH_GITHUB_APP_INSTALLATION_ID to the number at the end of the installation's address`;
  }
  if (status === 403 && /suspended/i.test(text)) {
    return 'its installation is suspended; the owner of the organisation must resume it';
  }
  if (isNotInstalled(error)) {
    return `its installation ${installationId} does not cover ${path}; check BERTH_REPO, and add the repository to the App's installation`;
  }
  if (status === 422) {
    const lacking = Object.entries(permissions)
      .filter(([name]) => name !== 'metadata')
      .map(([name, level]) => `"${nameOfPermission(name)}: ${level}"`);
    return `it lacks the repository permission ${lacking.join(' or ')}; grant it, and accept the change in the installation`;
  }
  return status === 403 ? 'GitHub forbids it; see the App and its installation there' : undefined;
}

/** `pull_requests` as GitHub's page shows it. */
function nameOfPermission(name: string): string {
  const words = name.replaceAll('_', ' ');
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}`;
}
