/**
 * GitHub's REST API through Octokit, over undici with the proxies and deadlines of the git
 * transport.
 * Invariants: nothing is retried or logged here. The login is sent to the API's host only.
 */
import { RequestError } from '@octokit/request-error';
import { type Dispatcher, fetch as undiciFetch } from 'undici';
import { messageOf } from '../../shared/errors.ts';
import { version } from '../../shared/version.ts';

export interface GitHub {
  /** `https://api.github.com` */
  apiUrl: string;
  /** `owner/name` */
  path: string;
  token: string | undefined;
  dispatcher: Dispatcher;
  signal: AbortSignal;
  /** Whether the new name of a repository that was renamed or transferred is not used: 3xx is an error then. */
  refusesRenamed?: boolean;
}

/** Creates an Octokit for `github`; loaded on demand, because most runs need none. */
export async function connect(
  { apiUrl, token, dispatcher, refusesRenamed = false }: Omit<GitHub, 'path'>,
  signal: AbortSignal,
  options: Record<string, unknown> = token === undefined ? {} : { auth: token },
) {
  const { Octokit } = await import('@octokit/rest');
  const fetch: typeof undiciFetch = (url, init) => undiciFetch(url, { ...init, dispatcher });
  const silent = () => undefined;
  const octokit = new Octokit({
    baseUrl: apiUrl,
    userAgent: `berth/${version}`,
    request: { fetch, signal, ...(refusesRenamed ? { redirect: 'manual' } : {}) },
    log: { debug: silent, info: silent, warn: silent, error: silent },
    ...options,
  });
  // Octokit takes each status below 400 for a success.
  octokit.hook.after('request', (response, request) => {
    const { status } = response as { status: number };
    if (status >= 300 && status < 400)
      throw new RequestError('moved', status, { request, response });
  });
  return octokit;
}

export type Headers = Readonly<Record<string, string | number | undefined>>;

/** GitHub's error response; undefined without a response. */
export function answerOf(
  error: unknown,
): { status: number; headers: Headers; text: string } | undefined {
  if (!(error instanceof RequestError) || !error.response) return undefined;
  return { status: error.status, headers: error.response.headers, text: messageOf(error) };
}

/**
 * The end of a rate limit, if a limit is why GitHub refused. Primary: the calls of the hour are
 * used up. Secondary: too many at once; its end may be unknown.
 */
export function limitOf(error: unknown): { kind: string; until: Date | undefined } | undefined {
  const answer = answerOf(error);
  if (!answer || (answer.status !== 403 && answer.status !== 429)) return undefined;
  const { headers, text } = answer;
  if (headers['retry-after'] !== undefined) {
    return { kind: 'secondary', until: new Date(Date.now() + seconds(headers['retry-after'])) };
  }
  if (headers['x-ratelimit-remaining'] === '0') {
    const reset = seconds(headers['x-ratelimit-reset']);
    return { kind: 'primary', until: reset > 0 ? new Date(reset) : undefined };
  }
  if (/secondary rate limit|abuse detection/i.test(text)) {
    return { kind: 'secondary', until: undefined };
  }
  return answer.status === 429 || /rate limit/i.test(text)
    ? { kind: 'primary', until: undefined }
    : undefined;
}

/** The seconds of a header in milliseconds; 0 without a valid value. */
function seconds(header: string | number | undefined): number {
  const value = Number(header);
  return value > 0 && value < 1e11 ? value * 1_000 : 0;
}
