/**
 * Pull requests for tools that have no token: `POST /pull-requests` opens or updates the one open pull
 * request of a branch, `GET /OWNER/REPO/pulls/N` reads one.
 * Invariants: a pull request is opened only from a branch that may be pushed, in a repository that may
 * be pushed to; no redirect is followed. Answers are JSON; an error is a problem (RFC 9457) with a remedy.
 */
import type { IncomingMessage } from 'node:http';
import type { Dispatcher } from 'undici';
import { z } from 'zod';
import { asBerthError, BerthError, errorTable } from '../../shared/errors.ts';
import { redactValue } from '../../shared/redact.ts';
import { collect } from '../git/transport.ts';
import type { GitHub } from '../github/github-api.ts';
import { isBranch, matchesAny } from './branches.ts';
import { type Common, notAllowed, reservedIn } from './git-requests.ts';
import type { Access, Logins } from './logins.ts';
import { type Place, placeOf, urlOf } from './repository-pattern.ts';
import type { Route } from './routes.ts';
import { ClientGone, isRefusal } from './transfer.ts';

export interface PullsCommon extends Common {
  logins: Logins;
  dispatcher: Dispatcher;
  githubApiUrl: string | undefined;
}

const mostBytes = 128 * 1024;
/** Milliseconds for all calls of GitHub's API. */
const patience = 60_000;

const wantedSchema = z.strictObject({
  /** `owner/name` */
  repository: z.string().max(500),
  head: z.string().refine(isBranch, { error: 'the name of a branch' }),
  title: z.string().trim().min(1).max(256),
  body: z.string().max(65_536).default(''),
  base: z.string().refine(isBranch, { error: 'the name of a branch' }).optional(),
  /** Counts when the pull request is opened. */
  draft: z.boolean().optional(),
});

/** Answers every failure. */
export async function servePulls(
  route: Exclude<Route, { kind: 'git' }>,
  common: PullsCommon,
): Promise<void> {
  const { metrics, log } = common;
  try {
    const [status, answer] =
      route.kind === 'open-pull' ? await open(common) : await read(route, common);
    metrics.request('pull_request', 'served');
    send(common, status, 'application/json', answer);
  } catch (thrown) {
    const error = asBerthError(thrown);
    const isRule = isRefusal(error);
    if (!(common.signal.reason instanceof ClientGone)) {
      metrics.request('pull_request', isRule ? 'refused' : 'failed');
    }
    if (isRule) log.warn('gateway_refused', error.message);
    else log.warn('gateway_failed', error.message, { error });
    const { title, status, retryable } = errorTable[error.code];
    const problem = { title, status, detail: error.message, code: error.code, retryable };
    send(common, status, 'application/problem+json', problem);
  }
}

function send({ response }: Common, status: number, type: string, content: object): void {
  const text = JSON.stringify(redactValue(content));
  const headers: Record<string, string> = { 'content-type': type, 'cache-control': 'no-store' };
  if (!response.req.complete) headers.connection = 'close';
  response.writeHead(status, headers).end(`${text}\n`);
}

async function open(common: PullsCommon): Promise<[number, object]> {
  const { config, home, request, log } = common;
  const { repository, head, ...wanted } = await readWanted(request);
  const place = placeOf(repository, home.origin, config.fetch);
  if (!place)
    throw new BerthError(
      'invalid_request',
      'cannot open a pull request: repository is no owner/name; correct it',
    );
  const refused = notAllowed(place, true, common);
  if (refused !== undefined) throw new BerthError('forbidden', refused);
  const reserved = reservedIn(place, common).some(
    (each) => each.toLowerCase() === head.toLowerCase(),
  );
  if (!matchesAny(head, config.branches) || reserved) {
    const names = config.branches.join(' or ');
    throw new BerthError(
      'forbidden',
      `cannot open a pull request for ${head}: its name must match ${names}, and berth itself must not use it; push to such a branch`,
    );
  }
  const { openPullRequest } = await import('../github/pull-requests.ts');
  const { created, ...pull } = await call(place, 'write-pulls', common, (github) =>
    openPullRequest(github, { branch: head, ...wanted }),
  );
  const text = `pull request ${pull.number} of ${place.path} was ${created ? 'opened' : 'updated'}`;
  log.info('gateway_pull_request', text, {
    repository: urlOf(place),
    refs: [head],
    number: pull.number,
    created,
  });
  return [created ? 201 : 200, { ...pull, created }];
}

async function readWanted(request: IncomingMessage): Promise<z.infer<typeof wantedSchema>> {
  const refuse = (why: string) =>
    new BerthError(
      'invalid_request',
      `cannot open a pull request: ${why}; send JSON with repository, head, title, body and base`,
    );
  if (!/^application\/json\b/i.test(request.headers['content-type'] ?? '')) {
    throw refuse('the content type is not application/json');
  }
  // The connection stays, for the answer.
  const body = request.iterator({ destroyOnReturn: false });
  const bytes = await collect(body, mostBytes).catch(() => {
    throw refuse(`the body is larger than ${mostBytes} bytes, or was cut short`);
  });
  let content: unknown;
  try {
    content = JSON.parse(bytes.toString());
  } catch {
    throw refuse('the body is not JSON');
  }
  const parsed = wantedSchema.safeParse(content);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw refuse(`${issue?.path.join('.') || 'the body'}: ${issue?.message}`);
}

async function read(
  { place, number }: Route & { kind: 'read-pull' },
  common: PullsCommon,
): Promise<[number, object]> {
  const refused = notAllowed(place, false, common);
  if (refused !== undefined) throw new BerthError('forbidden', refused);
  const { readPullRequest } = await import('../github/pull-requests.ts');
  const found = await call(place, 'read-pulls', common, (github) =>
    readPullRequest(github, number),
  );
  return [200, found];
}

/** Calls GitHub's API. A token that GitHub does not accept is not used again. */
async function call<T>(
  place: Place,
  access: Access,
  common: PullsCommon,
  run: (github: GitHub) => Promise<T>,
): Promise<T> {
  const github = await connect(place, access, common);
  try {
    return await run(github);
  } catch (error) {
    if (asBerthError(error).details.http_status === 401) common.logins.forget(place);
    throw error;
  }
}

async function connect(place: Place, access: Access, common: PullsCommon): Promise<GitHub> {
  const { logins, dispatcher, home } = common;
  const signal = AbortSignal.any([common.signal, AbortSignal.timeout(patience)]);
  const apiUrl = place.origin === home.origin ? common.githubApiUrl : apiOf(place.origin);
  if (apiUrl === undefined) {
    throw new BerthError(
      'not_supported',
      `cannot use pull requests of ${place.origin}: it is not GitHub; open the merge request or pull request by the link that the server prints after git push, or set BERTH_GITHUB_API_URL for GitHub Enterprise`,
    );
  }
  const login = await logins.find(place, access, signal);
  const token = login?.token;
  // The lists have the name, and may not have the repository to which GitHub would redirect.
  return { apiUrl, path: place.path, token, dispatcher, signal, refusesRenamed: true };
}

function apiOf(origin: string): string | undefined {
  return origin === 'https://github.com' ? 'https://api.github.com' : undefined;
}
