/**
 * The login for a repository: the token of the settings, or a token that a GitHub App's installation
 * gets for this one repository and purpose.
 * Invariants: a login belongs to the server of BERTH_REPO and goes to no other server. The settings are
 * read again for each request, so a new token in the Secret is used at once. A token of an App
 * has only the rights that the purpose needs.
 */
import { LRUCache } from 'lru-cache';
import type { Dispatcher } from 'undici';
import { BerthError } from '../../shared/errors.ts';
import { abortable } from '../../shared/waiting.ts';
import type { AppPermissions } from '../github/github-app.ts';
import type { GitHubApp } from '../github/github-app-settings.ts';
import type { Place } from './repository-pattern.ts';

export type Access = 'read' | 'write' | 'read-pulls' | 'write-pulls';

/** What the settings say at the moment. */
export interface LoginSource {
  username: string;
  token: string | undefined;
  app: GitHubApp | undefined;
}

export interface LoginsOptions {
  /** The origin of the server of BERTH_REPO. */
  home: string;
  /** @throws BerthError `config_invalid` while the files are half written */
  read: () => LoginSource;
  githubApiUrl: string | undefined;
  /** Completes "put a token into ...". */
  tokenPlace: string;
  dispatcher: Dispatcher;
  /** Aborts when the gateway stops. Requests share a token of an App, so none of them ends its making. */
  signal: AbortSignal;
}

export interface Login {
  token: string;
  /** The header. */
  authorization: string;
}

export interface Logins {
  readonly tokenPlace: string;
  /**
   * Undefined: the repository is used without a login.
   * @throws BerthError `remote_refused`, `remote_unavailable`
   */
  find(place: Place, access: Access, signal: AbortSignal): Promise<Login | undefined>;
  /** The server has refused the login: an App's token is made anew next time. */
  forget(place: Place): void;
}

const rights: Record<Access, AppPermissions> = {
  read: { contents: 'read', metadata: 'read' },
  write: { contents: 'write', metadata: 'read' },
  'read-pulls': { pull_requests: 'read', contents: 'read', metadata: 'read' },
  'write-pulls': { pull_requests: 'write', contents: 'read', metadata: 'read' },
};

/** Milliseconds for which a token of an App is used. GitHub lets it live for one hour. */
const renewal = 50 * 60_000;
/** The number of tokens of an App that are kept. */
const mostTokens = 200;

export function createLogins(options: LoginsOptions): Logins {
  const { home, githubApiUrl, tokenPlace, dispatcher, signal: end } = options;
  const made = new LRUCache<string, Promise<string>>({ max: mostTokens, ttl: renewal });
  let last: LoginSource | undefined;

  const source = (): LoginSource => {
    try {
      last = options.read();
    } catch (error) {
      // The kubelet replaces a Secret in one step, other tools may not: the last token still works.
      if (!last) throw error;
    }
    return last;
  };

  const ofApp = (app: GitHubApp, { path }: Place, access: Access) => {
    const key = [path, access, app.id, app.installationId, app.privateKey].join('\0');
    const known = made.get(key);
    if (known) return known;
    const token = import('../github/github-app.ts').then(({ installationToken }) =>
      installationToken({
        ...{ app, apiUrl: githubApiUrl ?? '', path, dispatcher, signal: end },
        permissions: rights[access],
      }),
    );
    made.set(key, token);
    token.catch(() => made.peek(key) === token && made.delete(key));
    return token;
  };

  return {
    tokenPlace,
    async find(place, access, signal) {
      if (place.origin !== home) return undefined;
      const { username, app, ...given } = source();
      const token = app ? await abortable(ofApp(app, place, access), signal) : given.token;
      if (token === undefined && access !== 'read' && access !== 'read-pulls') {
        throw new BerthError(
          'remote_refused',
          `cannot push to ${place.path}: the gateway has no token; the operator must put one into ${tokenPlace}`,
        );
      }
      if (token === undefined) return undefined;
      const pair = Buffer.from(`${username}:${token}`).toString('base64');
      return { token, authorization: `Basic ${pair}` };
    },
    forget({ path }) {
      for (const key of made.keys()) if (key.startsWith(`${path}\0`)) made.delete(key);
    },
  };
}
