/**
 * Single sign-on: an organisation may require that a person authorises a token for it. GitHub
 * reports this in the header `x-github-sso`: `required; url=...` if it refuses, `partial-results;
 * organizations=1,2` if it omitted content of such organisations.
 * Invariant: the pages in messages are GitHub's own, not those of a header.
 */
import type { connect, Headers } from './github-api.ts';

type Octokit = Awaited<ReturnType<typeof connect>>;

/** The maximum number of organisations that are queried. */
const mostOrganisations = 5;

/** The requirement: the URL of a page, or the ids of organisations. */
export type SingleSignOn = { page: string | undefined } | { organisations: string[] };

export function singleSignOnOf(headers: Headers): SingleSignOn | undefined {
  const header = String(headers['x-github-sso'] ?? '');
  if (/^required\b/.test(header)) return { page: /url=(https:\/\/[^\s;]+)/.exec(header)?.[1] };
  const ids = /^partial-results\b.*organizations=([\d, ]+)/.exec(header)?.[1]?.match(/\d+/g);
  return ids ? { organisations: ids.slice(0, mostOrganisations) } : undefined;
}

/** The names of organisations; the id if the name is unknown. */
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

/** "<cause>; <remedy>" for organisations whose content was left out. */
export function unauthorised(names: readonly string[], apiUrl: string): string {
  const { origin, hostname } = new URL(apiUrl);
  const web = hostname === 'api.github.com' ? 'https://github.com' : origin;
  const what =
    names.length === 1
      ? `organisation ${names} requires authorisation`
      : `organisations ${names.join(', ')} require authorisation`;
  return `the ${what} for single sign-on; authorise the token for it under "Configure SSO" at ${web}/settings/tokens`;
}
