/**
 * Preflight: asks GitHub's API what git's bare 401, 403 and 404 do not tell: whether the token is
 * valid, whether it may read this repository, what the repository is called by now.
 * Always holds: it decides nothing and never throws. Where git works, what it found is a warning;
 * where git is refused, it is the cause and the remedy.
 */
import { RequestError } from '@octokit/request-error';
import { type Dispatcher, fetch as undiciFetch } from 'undici';
import { messageOf } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import { version } from '../shared/version.ts';

export interface PreflightOptions {
  /** `https://api.github.com` */
  apiUrl: string;
  /** `owner/name` */
  path: string;
  ref: string | undefined;
  token: string | undefined;
  dispatcher: Dispatcher;
  signal: AbortSignal;
  log: Log;
  /** Milliseconds for all of it. */
  timeout?: number;
}

export interface Preflight {
  /** "<cause>; <remedy>" if reading the repository cannot succeed. */
  problem?: string;
  /** The present `owner/name` if it was renamed or transferred. */
  renamedTo?: string;
  defaultBranch?: string;
}

export async function preflight(options: PreflightOptions): Promise<Preflight> {
  const { apiUrl, path, ref, log, timeout = 5_000 } = options;
  const started = performance.now();
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(timeout)]);
  const [owner = '', repo = ''] = path.split('/');
  const found: Preflight = {};
  try {
    const octokit = await connect(options, signal);
    const { data } = await octokit.rest.repos.get({ owner, repo });
    found.defaultBranch = data.default_branch;
    if (data.full_name.toLowerCase() !== path.toLowerCase()) found.renamedTo = data.full_name;
    const [nowOwner = owner, nowRepo = repo] = data.full_name.split('/');
    // Seeing a repository needs only "Metadata: read"; a commit needs "Contents: read".
    await octokit.rest.repos
      .getCommit({
        owner: nowOwner,
        repo: nowRepo,
        ref: ref ?? data.default_branch,
        mediaType: { format: 'sha' },
      })
      .catch((error) => {
        if (!(error instanceof RequestError) || ![404, 409, 422].includes(error.status))
          throw error;
      });
  } catch (error) {
    const problem = explain(error, options);
    if (problem !== undefined) return { ...found, problem };
    log.warn('preflight_warning', `cannot ask ${apiUrl} about ${path}; going on without`, {
      error: messageOf(error),
    });
    return found;
  }
  if (found.renamedTo) {
    log.warn(
      'preflight_warning',
      `the repository is called ${found.renamedTo} now; following it. Set BERTH_REPO to the new name`,
      { renamed_to: found.renamedTo },
    );
  }
  log.debug('preflight', 'GitHub lets this token read the repository', {
    ...found,
    duration_ms: Math.round(performance.now() - started),
  });
  return found;
}

async function connect({ apiUrl, token, dispatcher }: PreflightOptions, signal: AbortSignal) {
  const { Octokit } = await import('@octokit/rest');
  const fetch: typeof undiciFetch = (url, init) => undiciFetch(url, { ...init, dispatcher });
  const silent = () => undefined;
  return new Octokit({
    baseUrl: apiUrl,
    userAgent: `berth/${version}`,
    ...(token === undefined ? {} : { auth: token }),
    request: { fetch, signal },
    log: { debug: silent, info: silent, warn: silent, error: silent },
  });
}

/** Cause and remedy if the API's answer means that git must fail too, undefined if it may not. */
function explain(error: unknown, { path, token }: PreflightOptions): string | undefined {
  if (!(error instanceof RequestError) || !error.response) return undefined;
  const headers = error.response.headers as Record<string, string | undefined>;
  const limited = headers['x-ratelimit-remaining'] === '0' || headers['retry-after'] !== undefined;
  const text = error.message.toLowerCase();
  if (error.status === 401) {
    return 'GitHub does not accept the token: it is wrong, expired or revoked; make a new one and put it into BERTH_GIT_TOKEN';
  }
  if (error.status === 403 && !limited && !text.includes('rate limit')) {
    const sso = headers['x-github-sso'];
    if (sso?.startsWith('required')) {
      const page = /url=(\S+)/.exec(sso)?.[1];
      return `the organisation of ${path} asks for single sign-on; authorise the token for it${page ? ` at ${page}` : ''}`;
    }
    return `the token may not read ${path}; give it the repository permission "Contents: read"`;
  }
  if (error.status === 404) {
    if (token === undefined) {
      return `${path} does not exist, or is private (GitHub answers 404 to both); check BERTH_REPO, and put a token into BERTH_GIT_TOKEN`;
    }
    const scopes = headers['x-oauth-scopes'];
    const lacking = scopes !== undefined && !/(^|[ ,])repo([ ,]|$)/.test(scopes);
    return lacking
      ? `${path} does not exist, or the token may not see it: a classic token needs the scope "repo" and has ${scopes === '' ? 'none' : `"${scopes}"`}; check BERTH_REPO and the token's scopes`
      : `${path} does not exist, or the token has no access to it (GitHub answers 404 to both); check BERTH_REPO, and add the repository to those the token may read`;
  }
  return undefined;
}
