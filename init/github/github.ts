/**
 * Information from GitHub's API that git's 401, 403 and 404 lack: whether the token is valid and
 * until when, whether it may read this repository, the current name of the repository, and the
 * commit of an abbreviated id.
 * Invariants: the preflight decides nothing and never throws. If git works, the result is a
 * warning; if git is refused, the result is the cause and the remedy.
 */
import { BerthError, messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { answerOf, connect, type GitHub, type Headers, limitOf } from './github-api.ts';
import { problemOf } from './github-problem.ts';
import { namesOfOrganisations, singleSignOnOf, unauthorised } from './github-sso.ts';

export interface PreflightOptions extends GitHub {
  ref: string | undefined;
  /** The token is of a GitHub App's installation. */
  isApp?: boolean;
  /** Completes "put a token into ...". */
  tokenPlace?: string | undefined;
  log: Log;
  /** The maximum time in milliseconds. */
  timeout?: number;
}

export interface Preflight {
  /** Whether GitHub answered at all. */
  answered: boolean;
  /** "<cause>; <remedy>" if reading the repository cannot succeed. */
  problem?: string;
  /** The present `owner/name` if it was renamed or transferred. */
  renamedTo?: string;
  defaultBranch?: string;
  /** The expiry of the token, if GitHub reports it. */
  tokenExpiresAt?: Date;
}

export async function preflight(options: PreflightOptions): Promise<Preflight> {
  const { apiUrl, path, log, timeout = 5_000 } = options;
  // Loading the module can take seconds on a slow disk, and that time is not GitHub's. `connect` reports a failure.
  await import('@octokit/rest').catch(() => undefined);
  const started = performance.now();
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(timeout)]);
  const found: Preflight = { answered: false };
  try {
    await ask(options, signal, found);
  } catch (error) {
    const answer = answerOf(error);
    if (answer) noteExpiry(found, answer.headers, options);
    const left = answer?.status === 404 && (await leftOut(options, signal, answer.headers));
    const problem = left ? `${path} is not visible: ${left}` : problemOf(error, options);
    if (problem !== undefined) return { ...found, answered: true, problem };
    // After a stop or a deadline the reason is already known.
    if (!options.signal.aborted) {
      log.warn(
        'preflight_warning',
        `${whyNot(error, apiUrl, path)}; continuing without the check`,
        {
          error: messageOf(error),
        },
      );
    }
    return found;
  }
  if (found.renamedTo) {
    log.warn(
      'preflight_warning',
      `the repository is called ${found.renamedTo} now; using the new name. Set BERTH_REPO to the new name`,
      { renamed_to: found.renamedTo },
    );
  }
  log.debug('preflight', 'this token can read the repository (confirmed by GitHub)', {
    default_branch: found.defaultBranch,
    token_expires_at: found.tokenExpiresAt?.toISOString(),
    duration_ms: Math.round(performance.now() - started),
  });
  return found;
}

/** @throws what Octokit throws */
async function ask(options: PreflightOptions, signal: AbortSignal, found: Preflight) {
  const { path, ref } = options;
  const octokit = await connect(options, signal);
  const { data, headers } = await octokit.rest.repos.get(namesOf(path));
  found.answered = true;
  found.defaultBranch = data.default_branch;
  noteExpiry(found, headers, options);
  if (data.full_name.toLowerCase() !== path.toLowerCase()) found.renamedTo = data.full_name;
  const left = await leftOut(options, signal, headers);
  if (left)
    options.log.warn('preflight_warning', `GitHub does not show everything to this token: ${left}`);
  // Seeing a repository needs only "Metadata: read"; a commit needs "Contents: read".
  await octokit.rest.repos
    .getCommit({
      ...namesOf(data.full_name),
      ref: ref ?? data.default_branch,
      mediaType: { format: 'sha' },
    })
    .catch((error) => {
      if (![404, 409, 422].includes(answerOf(error)?.status ?? 0)) throw error;
    });
}

/** Content that single sign-on hides from this token, if it belongs to the repository's owner. */
async function leftOut(options: PreflightOptions, signal: AbortSignal, headers: Headers) {
  const asked = singleSignOnOf(headers);
  if (!asked || !('organisations' in asked)) return undefined;
  const names = await namesOfOrganisations(await connect(options, signal), asked.organisations);
  const { owner } = namesOf(options.path);
  const mine = names.filter((name) => name.toLowerCase() === owner.toLowerCase());
  const unknown = names.filter((name) => name.startsWith('number '));
  const concerned = mine.length > 0 ? mine : unknown;
  return concerned.length > 0 ? unauthorised(concerned, options.apiUrl) : undefined;
}

/** GitHub returns the expiry of a token with every response, as `2026-12-31 23:59:59 UTC`. */
function noteExpiry(found: Preflight, headers: Headers, { isApp }: PreflightOptions): void {
  if (isApp) return;
  const time = new Date(String(headers['github-authentication-token-expiration'] ?? ''));
  if (!Number.isNaN(time.getTime())) found.tokenExpiresAt = time;
}

/**
 * The full id of an abbreviated commit id; undefined if there is none, or several.
 * @throws BerthError `remote_refused`, `remote_unavailable`
 */
export async function resolveCommit(github: GitHub, short: string): Promise<string | undefined> {
  const { apiUrl, path } = github;
  try {
    const octokit = await connect(github, github.signal);
    const { data } = await octokit.rest.repos.getCommit({
      ...namesOf(path),
      ref: short,
      mediaType: { format: 'sha' },
    });
    const id = String(data);
    // A branch or tag of that name would be found first.
    return /^[0-9a-f]{40}$/.test(id) && id.startsWith(short) ? id : undefined;
  } catch (error) {
    const problem = problemOf(error, github);
    const status = answerOf(error)?.status;
    if (status === 422 || status === 409) return undefined;
    throw new BerthError(
      problem === undefined ? 'remote_unavailable' : 'remote_refused',
      problem === undefined
        ? `cannot find the commit ${short}: ${whyNot(error, apiUrl, path)}; set BERTH_REF to all its 40 digits`
        : `cannot find the commit ${short}: ${problem}`,
      { cause: error },
    );
  }
}

function namesOf(path: string): { owner: string; repo: string } {
  const [owner = '', repo = ''] = path.split('/');
  return { owner, repo };
}

/** Why GitHub's API returned nothing about the repository. */
function whyNot(error: unknown, apiUrl: string, path: string): string {
  const limit = limitOf(error);
  if (!limit) return `cannot query ${apiUrl} about ${path}`;
  const until = limit.until ? ` until ${limit.until.toISOString()}` : ' for a while';
  const which =
    limit.kind === 'primary' ? 'the calls of this hour are used up' : 'too many at once';
  return `GitHub refuses calls with this login${until} (${limit.kind} rate limit: ${which})`;
}
