/**
 * A stand-in for GitHub's REST API: the calls that berth-init makes, answered as GitHub does, by what
 * the options say of the login and the repository. An App's signature is really verified.
 */
import { verify } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json as readJson } from 'node:stream/consumers';
import { answerGitData, type GitData } from './github-git.ts';
import { answerPulls, closeWithoutBranch, type PullRequests } from './github-pulls.ts';

export interface GitHubApiOptions {
  /** The repository's present name. */
  repository: string;
  /** A former name, which answers with a redirect, as everything below it. */
  formerly?: string;
  defaultBranch?: string;
  /** The token that is let in; any other is refused with 401. Without it all is public. */
  token?: string;
  /** `none`: 404 as if it did not exist; `metadata`: it is seen, its contents are not. */
  access?: 'contents' | 'metadata' | 'none';
  /** What `x-oauth-scopes` says; only classic tokens have it. */
  scopes?: string;
  /** What `x-accepted-github-permissions` says where access is refused; for fine-grained tokens. */
  permissions?: string;
  /** When the token ends, as GitHub writes it: `2026-12-31 23:59:59 UTC`. */
  tokenExpires?: string;
  /** Full ids of the commits that abbreviated ones can mean. */
  commits?: readonly string[];
  /** Where the API lies below the host: `/api/v3` for Enterprise. */
  base?: string;
  /** The one App that may make a token, `token`, for its one installation. */
  app?: { id: string; installationId: number; publicKey: string; state?: AppState };
  /**
   * The page where the token is authorised for single sign-on; or the organisations, name by id, whose
   * things are left out until it is.
   */
  singleSignOn?: string | Readonly<Record<string, string>>;
  /** `primary`: until the given time, in seconds since 1970; `secondary`: for so many seconds. */
  limit?: { primary: number } | { secondary: number };
  /** The pull requests of the repository, and whether the token may read and write them. */
  pulls?: PullRequests;
  /** The repository of the Git Data API. */
  gitData?: GitData;
  /** Take requests and never answer. */
  hang?: boolean;
}

/** An installation that works, is suspended, or may not read contents. */
export type AppState = 'installed' | 'suspended' | 'unpermitted';

export interface TokenRequest {
  repositories?: string[];
  permissions?: Record<string, string>;
}

export interface GitHubApi {
  readonly url: string;
  /** `METHOD path`, oldest first. */
  readonly requests: readonly string[];
  /** What each token of an App was asked for. */
  readonly tokensFor: readonly TokenRequest[];
  close(): Promise<void>;
}

export async function startGitHubApi(options: GitHubApiOptions): Promise<GitHubApi> {
  const requests: string[] = [];
  const tokensFor: TokenRequest[] = [];
  const server = createServer(async (request, response) => {
    const path = request.url ?? '/';
    requests.push(`${request.method} ${path}`);
    if (options.hang) return;
    const { base = '' } = options;
    const below = path.startsWith(`${base}/`) ? path.slice(base.length) : '/nowhere';
    const { method = 'GET' } = request;
    const body =
      method === 'GET' || method === 'DELETE' ? {} : ((await readJson(request)) as object);
    if (below.endsWith('/access_tokens')) tokensFor.push(body);
    const { authorization } = request.headers;
    await answer(options, { method, path: below, authorization, body }, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${options.base ?? ''}`,
    requests,
    tokensFor,
    async close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

interface Asked {
  method: string;
  path: string;
  authorization: string | undefined;
  body: TokenRequest;
}

async function answer(
  options: GitHubApiOptions,
  { method, path: askedPath, authorization, body }: Asked,
  response: ServerResponse,
): Promise<void> {
  const { access = 'contents', defaultBranch = 'main', repository, formerly } = options;
  const path = askedPath.replace(/^\/repositories\/42\//, `/repos/${repository}/`);
  const send = (status: number, body: object | string, headers: Record<string, string> = {}) => {
    const type =
      typeof body === 'string' ? 'application/vnd.github.sha; charset=utf-8' : 'application/json';
    response.writeHead(status, { 'content-type': type, ...ofToken(options), ...headers });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };
  if (options.limit) {
    sendLimit(options.limit, send);
    return;
  }
  const installation = /^\/app\/installations\/(\d+)\/access_tokens$/.exec(path)?.[1];
  if (installation !== undefined) {
    answerApp(options, Number(installation), { authorization, body }, send);
    return;
  }
  const given = authorization?.replace(/^(token|bearer) /i, '');
  if (given !== undefined && given !== options.token) {
    send(401, { message: 'Bad credentials' });
    return;
  }
  if (options.token !== undefined && given === undefined) {
    send(404, { message: 'Not Found' });
    return;
  }
  if (typeof options.singleSignOn === 'string') {
    const header = { 'x-github-sso': `required; url=${options.singleSignOn}` };
    send(403, { message: 'Resource protected by organization SAML enforcement.' }, header);
    return;
  }
  const organisation = /^\/organizations\/(\d+)$/.exec(path)?.[1];
  if (organisation !== undefined && typeof options.singleSignOn === 'object') {
    const login = options.singleSignOn[organisation];
    if (login) send(200, { login });
    else send(404, { message: 'Not Found' });
    return;
  }
  if (formerly !== undefined && path.startsWith(`/repos/${formerly}/`)) {
    const location = path.replace(`/repos/${formerly}`, '/repositories/42');
    response.writeHead(method === 'GET' ? 301 : 307, {
      location,
      'content-type': 'application/json',
    });
    response.end(JSON.stringify({ message: 'Moved' }));
    return;
  }
  const isGit = path.startsWith(`/repos/${repository}/git/`) && options.gitData;
  const ofGit = isGit && (await answerGitData(isGit, { method, path, body }));
  if (ofGit) {
    send(...ofGit);
    if (options.pulls) closeWithoutBranch(options.pulls);
    return;
  }
  const pulls = path.startsWith(`/repos/${repository}/pulls`) && options.pulls;
  if (pulls) {
    await answerPulls(pulls, { method, path, body, repository }, send);
  } else if (access === 'none') {
    send(404, { message: 'Not Found' });
  } else if (formerly !== undefined && path === `/repos/${formerly}`) {
    const location = '/repositories/42';
    response.writeHead(301, { location }).end(JSON.stringify({ message: 'Moved Permanently' }));
  } else if (path === `/repos/${repository}` || path === '/repositories/42') {
    send(200, { full_name: repository, default_branch: defaultBranch, private: true });
  } else if (path.startsWith(`/repos/${repository}/commits/`)) {
    if (access !== 'contents') {
      const message = 'Resource not accessible by personal access token';
      send(403, { message }, { 'x-accepted-github-permissions': options.permissions ?? '' });
      return;
    }
    const ref = path.slice(`/repos/${repository}/commits/`.length);
    const [found, ...others] = (options.commits ?? []).filter((id) => id.startsWith(ref));
    if (ref === defaultBranch) send(200, '0'.repeat(40));
    else if (found !== undefined && others.length === 0) send(200, found);
    else send(422, { message: `No commit found for SHA: ${ref}` });
  } else {
    send(404, { message: 'Not Found' });
  }
}

type Send = (status: number, body: object | string, headers?: Record<string, string>) => void;

function ofToken({ scopes, tokenExpires, singleSignOn }: GitHubApiOptions): Record<string, string> {
  const organisations = typeof singleSignOn === 'object' ? Object.keys(singleSignOn).join(',') : '';
  return {
    ...(organisations ? { 'x-github-sso': `partial-results; organizations=${organisations}` } : {}),
    ...(scopes === undefined ? {} : { 'x-oauth-scopes': scopes }),
    ...(tokenExpires === undefined
      ? {}
      : { 'github-authentication-token-expiration': tokenExpires }),
  };
}

function sendLimit(limit: NonNullable<GitHubApiOptions['limit']>, send: Send): void {
  if ('primary' in limit) {
    const headers = { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(limit.primary) };
    send(403, { message: 'API rate limit exceeded' }, headers);
  } else {
    const message = 'You have exceeded a secondary rate limit';
    send(429, { message }, { 'retry-after': String(limit.secondary) });
  }
}

/** Makes the token of an installation for who proves to be the App. */
function answerApp(
  { app, token = '', repository }: GitHubApiOptions,
  installation: number,
  { authorization, body }: Pick<Asked, 'authorization' | 'body'>,
  send: Send,
): void {
  const [header = '', claims = '', signature = ''] = (authorization ?? '')
    .replace(/^bearer /i, '')
    .split('.');
  const { iss } = JSON.parse(Buffer.from(claims, 'base64url').toString() || '{}');
  if (!app || String(iss) !== app.id) {
    send(404, { message: 'Integration not found' });
    return;
  }
  const signed = Buffer.from(`${header}.${claims}`);
  if (!verify('RSA-SHA256', signed, app.publicKey, Buffer.from(signature, 'base64url'))) {
    send(401, { message: 'A JSON web token could not be decoded' });
  } else if (installation !== app.installationId) {
    send(404, { message: 'Not Found' });
  } else if (app.state === 'suspended') {
    send(403, { message: 'This installation has been suspended' });
  } else if (body.repositories?.some((name) => name !== repository.split('/')[1])) {
    const message =
      'There is at least one repository that does not exist or is not accessible to the parent installation.';
    send(422, { message });
  } else if (app.state === 'unpermitted') {
    send(422, { message: 'The permissions requested are not granted to this installation.' });
  } else {
    const expires = new Date(Date.now() + 3_600_000).toISOString();
    send(201, { token, expires_at: expires, permissions: { contents: 'read', metadata: 'read' } });
  }
}
