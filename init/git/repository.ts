/**
 * Which repository is meant: `owner/name`, or an http(s) URL in any of its usual spellings, read into
 * one form. Invariants: the URL that comes out carries no credentials and no trailing `.git`, and
 * credentials that stood in it are never shown from then on.
 */
import { z } from 'zod';
import { neverShow } from '../../shared/redact.ts';

export interface Repository {
  /** `https://github.com/owner/name`: names the repository in logs, records and errors. */
  url: string;
  /** The URL as configured, which is used for requests: some servers need the `.git`. */
  remoteUrl: string;
  /** `owner/name`: the path without slashes at its ends. */
  path: string;
  /** Whether GitHub itself hosts it, not an Enterprise server or another product. */
  onGitHub: boolean;
  /** The login that stood in the URL, where it does not belong. */
  login: { username: string | undefined; token: string } | undefined;
}

const slug = /^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\/[A-Za-z0-9._-]+$/;
/** `ssh://git@host/path` or `git@host:path`. */
const ssh = /^(?:(?:git\+)?ssh:\/\/(?:[^@/]+@)?([^/:]+)(?::\d+)?\/|[^@/\s:]+@([^/:\s]+):)(.+)$/;

/** Text to Repository; the message of a failure completes the sentence "expected ...". */
export const repositorySchema = z.string().transform((text, context): Repository => {
  const result = parseRepository(text.trim());
  if (typeof result !== 'string') return result;
  context.addIssue({ code: 'custom', message: result });
  return z.NEVER;
});

/** Returns the repository, or a description of the expected form. */
function parseRepository(text: string): Repository | string {
  hideLogin(text);
  if (slug.test(text)) return fromUrl(new URL(`https://github.com/${text}`));
  const match = ssh.exec(text);
  if (match) {
    const path = withoutSuffix(match[3] ?? '');
    return `the https form, https://${match[1] ?? match[2]}/${path}, with a token in BERTH_GIT_TOKEN (berth speaks no ssh)`;
  }
  // The rest of a token with a slash in it would be taken for the path.
  if (/^https?:\/\/[^/]*\/.*@/i.test(text)) {
    return 'a URL without a login (put the unencoded token into BERTH_GIT_TOKEN)';
  }
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol)) {
    return 'owner/name or an https URL such as https://github.com/owner/name';
  }
  if (url.search || url.hash) return 'a URL without ? and #';
  if (withoutSuffix(url.pathname) === '') return 'a URL with a path, such as /owner/name';
  return fromUrl(url);
}

/**
 * The default user name for a token. GitHub and Bitbucket require a certain name. GitLab, Gitea and
 * Forgejo accept any name, because they check only the token.
 */
export function usernameOf({ url }: Repository, isGitHub: boolean): string {
  if (isGitHub) return 'x-access-token';
  return /(^|\.)bitbucket\./.test(new URL(url).hostname) ? 'x-token-auth' : 'oauth2';
}

function fromUrl(url: URL): Repository {
  const path = withoutSuffix(url.pathname);
  const [username, password] = [url.username, url.password].map(decode);
  const token = password || username;
  return {
    url: `${url.protocol}//${url.host}/${path}`,
    remoteUrl: `${url.protocol}//${url.host}/${trimmed(url.pathname)}`,
    path,
    onGitHub: /^(www\.)?github\.com$/.test(url.hostname),
    login: token ? { username: password ? username : undefined, token } : undefined,
  };
}

function trimmed(path: string): string {
  return path.replace(/^\/+|\/+$/g, '');
}

function withoutSuffix(path: string): string {
  return trimmed(path).replace(/\/?\.git$/, '');
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Any text before an @ may be a token, also in an invalid URL. */
function hideLogin(text: string): void {
  const login = /^[a-z+]+:\/\/(.*)@/i.exec(text)?.[1];
  if (login === undefined) return;
  for (const part of [login, ...login.split(':')]) {
    neverShow(part);
    neverShow(decode(part));
  }
}
