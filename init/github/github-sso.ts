/**
 * Single sign-on: an organisation may ask that a token is authorised for it by a person. GitHub says so
 * in the header `x-github-sso`: `required; url=...` where it refuses, `partial-results;
 * organizations=1,2` where it left out what belongs to organisations that ask for it.
 * Always holds: the pages named are GitHub's own, not what a header says.
 */
import type { connect, Headers } from './github-api.ts';

type Octokit = Awaited<ReturnType<typeof connect>>;

/** Of a longer list only the first are looked up. */
const mostOrganisations = 5;

/** What is asked for: by a page of its own, or for the organisations with these ids. */
export type SingleSignOn = { page: string | undefined } | { organisations: string[] };

export function singleSignOnOf(headers: Headers): SingleSignOn | undefined {
  const header = String(headers['x-github-sso'] ?? '');
  if (/^required\b/.test(header)) return { page: /url=(https:\/\/[^\s;]+)/.exec(header)?.[1] };
  const ids = /^partial-results\b.*organizations=([\d, ]+)/.exec(header)?.[1]?.match(/\d+/g);
  return ids ? { organisations: ids.slice(0, mostOrganisations) } : undefined;
}

/** The names of organisations; an id where it cannot be told. */
export async function namesOfOrganisations(
  octokit: Octokit,
  ids: readonly string[],
): Promise<string[]> {
  const names = ids.map(async (id) => {
    const answer = await octokit.request('GET /organizations/{id}', { id }).catch(() => undefined);
    const { login } = (answer?.data ?? {}) as { login?: unknown };
    return typeof login === 'string' && /^[\w.-]{1,100}$/.test(login) ? login : `number ${id}`;
  });
  return Promise.all(names);
}

/** "<cause>; <remedy>" for organisations that were left out. */
export function unauthorised(names: readonly string[], apiUrl: string): string {
  const { origin, hostname } = new URL(apiUrl);
  const web = hostname === 'api.github.com' ? 'https://github.com' : origin;
  const what =
    names.length === 1 ? `organisation ${names} asks` : `organisations ${names.join(', ')} ask`;
  return `the ${what} for single sign-on; authorise the token for it under "Configure SSO" at ${web}/settings/tokens`;
}
