/**
 * Requests to the git servers: adds the token, and turns refusals into errors with a remedy.
 * Invariants: a token is sent to the origin that it belongs to and nowhere else: no redirect is
 * followed. Only the headers named here go out and come back. No answer and no error holds a token.
 */
import type { Readable } from 'node:stream';
import { type Dispatcher, request } from 'undici';
import { BerthError } from '../../shared/errors.ts';
import { version } from '../../shared/version.ts';
import { networkProblem } from '../git/remote-errors.ts';
import type { Access, Logins } from './logins.ts';
import { type Place, urlOf } from './repository-pattern.ts';

export type Service = 'git-upload-pack' | 'git-receive-pack';

export interface UpstreamRequest {
  place: Place;
  service: Service;
  /** Absent: the discovery request, `info/refs`. */
  body?: Readable | AsyncIterable<Uint8Array> | Buffer | undefined;
  /** `git-protocol`, `content-encoding` and `content-length`, if the client sent them. */
  headers?: Record<string, string>;
  signal: AbortSignal;
}

export interface Upstream {
  /**
   * Returns the body of the answer.
   * @throws BerthError `remote_refused`, `remote_unavailable`
   */
  send(wanted: UpstreamRequest): Promise<Readable>;
}

export interface UpstreamOptions {
  logins: Logins;
  dispatcher: Dispatcher;
}

export function createUpstream({ logins, dispatcher }: UpstreamOptions): Upstream {
  return {
    async send({ place, service, body, headers = {}, signal }) {
      const access: Access = service === 'git-upload-pack' ? 'read' : 'write';
      const login = await logins.find(place, access, signal);
      const repository = `${urlOf(place)}.git`;
      const kind = body === undefined ? 'advertisement' : 'result';
      try {
        const answer = await request(
          body === undefined
            ? `${repository}/info/refs?service=${service}`
            : `${repository}/${service}`,
          {
            method: body === undefined ? 'GET' : 'POST',
            headers: {
              ...headers,
              'user-agent': `git/berth-${version}`,
              accept: `application/x-${service}-${kind}`,
              ...(body === undefined ? {} : { 'content-type': `application/x-${service}-request` }),
              ...(login ? { authorization: login.authorization } : {}),
            },
            // undici takes any iterable, which its types do not say.
            body: (body as Readable | Buffer | undefined) ?? null,
            dispatcher,
            signal,
          },
        );
        const type = String(answer.headers['content-type'] ?? '');
        if (answer.statusCode === 200 && type === `application/x-${service}-${kind}`) {
          return answer.body;
        }
        // What the server says may hold anything, so it is not passed on.
        answer.body.on('error', () => undefined).destroy();
        if (answer.statusCode === 401) logins.forget(place);
        const location = String(answer.headers.location ?? '');
        throw refusal(answer.statusCode, { place, access, location, login, logins });
      } catch (error) {
        throw unreachable(error, place) ?? error;
      }
    },
  };
}

interface Refused {
  place: Place;
  access: Access;
  location: string;
  login: { authorization: string } | undefined;
  logins: Logins;
}

function refusal(status: number, { place, access, location, login, logins }: Refused): BerthError {
  const what = `cannot ${access === 'read' ? 'fetch' : 'push to'} ${urlOf(place)}`;
  const refused = (why: string) =>
    new BerthError('remote_refused', `${what}: ${why}`, { details: { http_status: status } });
  const right = access === 'read' ? '"Contents: read"' : '"Contents: write"';
  if (status >= 300 && status < 400) {
    const to = URL.canParse(location) ? new URL(location) : undefined;
    const where = to ? ` to ${to.origin}${to.pathname.replace(/(\.git)?\/info\/refs$/, '')}` : '';
    return refused(
      `the server redirects${where}; use the present name of the repository, and allow it in BERTH_GATEWAY_REPOS`,
    );
  }
  if (status === 401) {
    return refused(
      login
        ? `the server does not accept the token (401): it is wrong, expired or revoked; the operator must put a new token into ${logins.tokenPlace}`
        : 'the server requires a login (401), and the gateway has no token for this server; use a repository of the server of BERTH_REPO',
    );
  }
  if (status === 403) {
    return refused(
      `the token may not do that (403); the operator must grant it ${right} on this repository`,
    );
  }
  if (status === 404) {
    return refused(
      `the repository does not exist, or the token has no access to it (404); check the name, and grant the token ${right} on it`,
    );
  }
  if (status === 413)
    return refused('the server finds the push too large (413); push less at once');
  if (status === 429 || status === 408 || status >= 500) {
    const why = status === 429 ? 'the server limits the rate' : 'the server is in trouble';
    const details = { http_status: status };
    return new BerthError('remote_unavailable', `${what}: ${why} (${status}); try again later`, {
      details,
    });
  }
  if (status === 200) {
    return refused(
      'the answer of the server is not git (a web page?); check the name of the repository',
    );
  }
  return refused(`the server answers with status ${status}; check the name of the repository`);
}

function unreachable(error: unknown, place: Place): BerthError | undefined {
  if (error instanceof BerthError) return undefined;
  const problem = networkProblem(error, 'the name of the host');
  if (!problem) return undefined;
  const message = `cannot reach ${place.origin}: ${problem.text}`;
  return new BerthError('remote_unavailable', message, { cause: problem.cause });
}
