/**
 * A stand-in for GitHub's REST API: the two calls of berth-init's preflight, answered as GitHub does,
 * by what the options say of the token and the repository.
 */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface GitHubApiOptions {
  /** The repository's present name. */
  repository: string;
  /** A former name, which answers with a redirect. */
  formerly?: string;
  defaultBranch?: string;
  /** The token that is let in; any other is refused with 401. Without it all is public. */
  token?: string;
  /** `none`: 404 as if it did not exist; `metadata`: it is seen, its contents are not. */
  access?: 'contents' | 'metadata' | 'none';
  /** What `x-oauth-scopes` says; only classic tokens have it. */
  scopes?: string;
  /** The page where the token is authorised for single sign-on. */
  singleSignOn?: string;
  rateLimited?: boolean;
  /** Take requests and never answer. */
  hang?: boolean;
}

export interface GitHubApi {
  readonly url: string;
  /** `METHOD path`, oldest first. */
  readonly requests: readonly string[];
  close(): Promise<void>;
}

export async function startGitHubApi(options: GitHubApiOptions): Promise<GitHubApi> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const path = request.url ?? '/';
    requests.push(`${request.method} ${path}`);
    if (!options.hang) answer(options, path, request.headers.authorization, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    async close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

function answer(
  options: GitHubApiOptions,
  path: string,
  authorization: string | undefined,
  response: ServerResponse,
): void {
  const { access = 'contents', defaultBranch = 'main', repository } = options;
  const send = (status: number, body: object | string, headers: Record<string, string> = {}) => {
    const scopes = options.scopes === undefined ? {} : { 'x-oauth-scopes': options.scopes };
    const type = typeof body === 'string' ? 'application/vnd.github.sha' : 'application/json';
    response.writeHead(status, { 'content-type': type, ...scopes, ...headers });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };
  if (options.rateLimited) {
    send(403, { message: 'API rate limit exceeded' }, { 'x-ratelimit-remaining': '0' });
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
  if (options.singleSignOn !== undefined) {
    const header = { 'x-github-sso': `required; url=${options.singleSignOn}` };
    send(403, { message: 'Resource protected by organization SAML enforcement.' }, header);
    return;
  }
  if (access === 'none') {
    send(404, { message: 'Not Found' });
  } else if (options.formerly !== undefined && path === `/repos/${options.formerly}`) {
    const location = '/repositories/42';
    response.writeHead(301, { location }).end(JSON.stringify({ message: 'Moved Permanently' }));
  } else if (path === `/repos/${repository}` || path === '/repositories/42') {
    send(200, { full_name: repository, default_branch: defaultBranch, private: true });
  } else if (path.startsWith(`/repos/${repository}/commits/`)) {
    if (access === 'contents') send(200, '0'.repeat(40));
    else send(403, { message: 'Resource not accessible by personal access token' });
  } else {
    send(404, { message: 'Not Found' });
  }
}
