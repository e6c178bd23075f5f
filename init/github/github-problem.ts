/**
 * Explains GitHub's refusals to read a repository: the cause and the remedy.
 * Invariants: an answer that does not concern the repository (a limit, an outage) is not a problem
 * of the repository. If the token may also cause a 404, both causes are named.
 */

import { usualTokenPlace } from '../git/token-setting.ts';
import { answerOf, type Headers, limitOf } from './github-api.ts';
import { singleSignOnOf } from './github-sso.ts';

export interface Asked {
  path: string;
  token: string | undefined;
  /** The login is an App's installation token. */
  isApp?: boolean;
  /** Completes "put a token into ...". */
  tokenPlace?: string | undefined;
}

/** "<cause>; <remedy>" if the API's answer means that git must fail too; undefined otherwise. */
export function problemOf(error: unknown, asked: Asked): string | undefined {
  const answer = answerOf(error);
  if (!answer || limitOf(error)) return undefined;
  const { status, headers, text } = answer;
  if (status === 401) {
    return `GitHub does not accept the token: it is wrong, expired or revoked; create a new token and put it into ${placeOf(asked)}`;
  }
  if (status === 403) return singleSignOn(headers, asked) ?? forbidden(headers, text, asked);
  if (status === 451)
    return `GitHub has blocked ${asked.path} for legal reasons; see its page there`;
  return status === 404 ? notSeen(headers, asked) : undefined;
}

function singleSignOn(headers: Headers, { path }: Asked): string | undefined {
  const asked = singleSignOnOf(headers);
  if (!asked || !('page' in asked)) return undefined;
  const { page } = asked;
  return `the organisation ${path.split('/')[0]} requires single sign-on; authorise the token for it${page ? ` at ${page}` : ''}`;
}

function placeOf({ tokenPlace = usualTokenPlace }: Asked): string {
  return tokenPlace;
}

function forbidden(headers: Headers, text: string, asked: Asked): string {
  const { path, token, isApp } = asked;
  if (token === undefined)
    return `GitHub refuses ${path} without a login; put a token into ${placeOf(asked)}`;
  if (/ip (address )?(is not|allow)|allow list/i.test(text)) {
    return `the organisation of ${path} accepts only addresses of its IP allow list; add the address of this cluster's egress`;
  }
  const whose = isApp ? "the App's installation" : 'the token';
  const scopes = lackingScope(headers);
  if (scopes !== undefined) return `${whose} may not read ${path}: ${scopes}; grant this scope`;
  const lacking = permissions(headers['x-accepted-github-permissions']) ?? '"Contents: read"';
  const accept = isApp ? ', and accept the change in the installation' : '';
  return `${whose} may not read ${path}; grant it the repository permission ${lacking}${accept}`;
}

function notSeen(headers: Headers, asked: Asked): string {
  const { path, token, isApp } = asked;
  if (token === undefined) {
    return `${path} does not exist, or is private (GitHub answers 404 to both); check BERTH_REPO, and put a token into ${placeOf(asked)}`;
  }
  if (isApp) {
    return `${path} does not exist, or the App is not installed for it (GitHub answers 404 to both); check BERTH_REPO, and add the repository to the App's installation`;
  }
  const scopes = lackingScope(headers);
  return scopes !== undefined
    ? `${path} does not exist, or the token may not see it: ${scopes}; check BERTH_REPO and the token's scopes`
    : `${path} does not exist, or the token has no access to it (GitHub answers 404 to both); check BERTH_REPO, and add the repository to those the token may read`;
}

/** The missing scope of a classic token; undefined for other tokens. */
function lackingScope(headers: Headers): string | undefined {
  const scopes = headers['x-oauth-scopes'];
  if (scopes === undefined || /(^|[ ,])repo([ ,]|$)/.test(String(scopes))) return undefined;
  return `a classic token needs the scope "repo" and has ${scopes === '' ? 'none' : `"${scopes}"`}`;
}

/** Formats `contents=read,metadata=read; administration=read` as on GitHub's page. */
function permissions(header: string | number | undefined): string | undefined {
  const sets = String(header ?? '')
    .split(';')
    .map((set) => [...set.matchAll(/([a-z_]+)=([a-z]+)/g)].map(nameOf).join(' and '))
    .filter((set) => set !== '');
  return sets.length > 0 ? sets.join(' or ') : undefined;
}

function nameOf([, name = '', level]: RegExpMatchArray): string {
  const words = name.replaceAll('_', ' ');
  return `"${words.charAt(0).toUpperCase()}${words.slice(1)}: ${level}"`;
}
