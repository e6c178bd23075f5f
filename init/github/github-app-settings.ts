/**
 * The settings of a GitHub App, whose token berth creates itself.
 * Invariants: an App needs all three settings, and excludes a token. The private key is kept in
 * memory only and is never shown, not even one of its lines.
 */
import { createPrivateKey } from 'node:crypto';
import { z } from 'zod';
import { setting } from '../../shared/config.ts';
import { neverShow } from '../../shared/redact.ts';
import { integer } from '../../shared/setting-types.ts';
import type { Repository } from '../git/repository.ts';

export interface GitHubApp {
  /** The App's id, or its client id. */
  id: string;
  installationId: number;
  /** PKCS#8, PEM. */
  privateKey: string;
}

const appId = z.string().regex(/^(\d{1,15}|Iv[A-Za-z0-9.]{10,40})$/, {
  error: "the App's id (a number) or its client id (Iv...)",
});

/** GitHub issues PKCS#1; an environment may have converted its line ends to `\n`. */
const privateKey = z.string().transform((text, context): string => {
  const pem = text.replaceAll('\\n', '\n').replaceAll('\r', '');
  for (const line of [text, ...pem.split('\n')]) neverShow(line);
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType !== 'rsa') throw new Error('not RSA');
    const whole = key.export({ type: 'pkcs8', format: 'pem' }) as string;
    for (const line of whole.split('\n')) neverShow(line);
    return whole;
  } catch {
    const message =
      'the private key of the App as downloaded from GitHub, a PEM file that begins with "-----BEGIN RSA PRIVATE KEY-----"';
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  }
});

export const githubAppDefinitions = {
  githubAppId: setting({
    name: 'BERTH_GITHUB_APP_ID',
    schema: appId,
    optional: true,
    description:
      'A GitHub App that may read the repository ("Contents: read"), in place of BERTH_GIT_TOKEN: its id or client id. Needs the two settings that follow.',
  }),
  githubAppInstallationId: setting({
    name: 'BERTH_GITHUB_APP_INSTALLATION_ID',
    schema: integer(1, Number.MAX_SAFE_INTEGER),
    optional: true,
    description:
      "The App's installation for the repository's owner: the number at the end of its page's address.",
  }),
  githubAppPrivateKey: setting({
    name: 'BERTH_GITHUB_APP_PRIVATE_KEY',
    schema: privateKey,
    optional: true,
    secret: true,
    description: "The App's private key, PEM. The key is kept only in memory.",
  }),
};

/** The settings that define the login, as far as they could be read. */
export interface LoginSettings {
  repository?: Repository;
  gitToken?: string | undefined;
  githubApiUrl?: string | undefined;
  githubAppId?: string | undefined;
  githubAppInstallationId?: number | undefined;
  githubAppPrivateKey?: string | undefined;
}

export function githubAppOf(settings: LoginSettings): GitHubApp | undefined {
  const { githubAppId, githubAppInstallationId, githubAppPrivateKey } = settings;
  if (!githubAppId || !githubAppInstallationId || !githubAppPrivateKey) return undefined;
  return {
    id: githubAppId,
    installationId: githubAppInstallationId,
    privateKey: githubAppPrivateKey,
  };
}

/** Returns problems between settings. An invalid setting has its own problem. */
export function wrongLogin(settings: LoginSettings): string[] {
  const { repository, gitToken, githubApiUrl } = settings;
  const keys = Object.keys(githubAppDefinitions) as (keyof typeof githubAppDefinitions)[];
  const given = keys.filter((key) => settings[key] !== undefined);
  const missing = keys.filter((key) => key in settings && settings[key] === undefined);
  if (given.length === 0) return [];
  const nameOf = (key: keyof typeof githubAppDefinitions) => githubAppDefinitions[key].name;
  const problems: string[] = [];
  if (missing.length > 0) {
    problems.push(
      `${given.map(nameOf).join(' and ')} needs ${missing.map(nameOf).join(' and ')}: a GitHub App needs all three settings`,
    );
  }
  if (gitToken !== undefined || repository?.login) {
    const other =
      gitToken !== undefined ? 'BERTH_GIT_TOKEN (or its alias)' : 'a login in BERTH_REPO';
    problems.push(`BERTH_GITHUB_APP_ID and ${other} are both set; keep only one login`);
  }
  if (repository && !repository.onGitHub && githubApiUrl === undefined) {
    problems.push(
      `BERTH_GITHUB_APP_ID: ${repository.url} is not on github.com; for Enterprise set BERTH_GITHUB_API_URL, for another product use BERTH_GIT_TOKEN`,
    );
  }
  return problems;
}
