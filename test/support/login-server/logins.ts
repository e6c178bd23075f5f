/**
 * What the login server knows: logins, each with the one refresh token that is good now.
 * Invariants: a refresh token works once; using one that was used revokes its login for good, as
 * the real server does. A setup that loses or repeats a token is found out by this.
 */
import { createHash, randomBytes } from 'node:crypto';

export interface LoginOptions {
  /** Milliseconds that access tokens live; 8 hours, as the real ones do. */
  lifetime?: number;
  /** The same of those that it is refreshed to, if it is another. */
  refreshed?: number;
  /** Milliseconds from now until a person must log in again; no refresh extends it. */
  deadline?: number;
  scopes?: readonly string[];
}

export interface Login {
  readonly id: number;
  readonly lifetime: number;
  /** Milliseconds since 1970. */
  readonly endsAt: number;
  readonly scopes: readonly string[];
  revoked: 'reuse' | 'ended' | 'by hand' | undefined;
  refreshes: number;
  refreshToken: string;
}

export interface TokenAnswer {
  token_type: 'Bearer';
  access_token: string;
  refresh_token: string;
  /** Seconds. */
  expires_in: number;
  /** Seconds. */
  refresh_token_expires_in: number;
  scope: string;
  account: { uuid: string; email_address: string };
  organization: { uuid: string; name: string };
}

const hour = 3_600_000;
const day = 24 * hour;

export class Logins {
  readonly all: Login[] = [];
  readonly #now: () => number;
  /** Whose each refresh token is or was. */
  readonly #owners = new Map<string, Login>();
  readonly #accessTokens = new Map<string, { login: Login; endsAt: number }>();
  /** Codes that nobody has used yet, each with what its user must prove to have begun with (PKCE). */
  readonly #codes = new Map<string, { challenge: string; options: LoginOptions }>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** A person logs in. @returns the text of a credentials file, as the CLI writes it */
  begin(options: LoginOptions = {}): string {
    const { login, lifetime, answer } = this.#open(options);
    const { access_token: accessToken, refresh_token: refreshToken } = answer;
    return JSON.stringify({
      claudeAiOauth: {
        ...{ accessToken, refreshToken, expiresAt: this.#now() + lifetime },
        refreshTokenExpiresAt: login.endsAt,
        ...{ scopes: login.scopes, subscriptionType: 'max' },
      },
    });
  }

  /** A person agrees in the browser. @returns the code that the page shows */
  agree(challenge: string, options: LoginOptions = {}): string {
    const code = randomBytes(12).toString('hex');
    this.#codes.set(code, { challenge, options });
    return code;
  }

  /** The tokens of a new login for a code, or undefined: it is wrong, used, or somebody else's. */
  exchange(code: string, verifier: string): TokenAnswer | undefined {
    const agreed = this.#codes.get(code);
    this.#codes.delete(code);
    const challenge = createHash('sha256').update(verifier).digest('base64url');
    if (!agreed || agreed.challenge !== challenge) return undefined;
    return this.#open(agreed.options).answer;
  }

  #open(options: LoginOptions): { login: Login; lifetime: number; answer: TokenAnswer } {
    const { lifetime = 8 * hour, refreshed = lifetime, deadline = 28 * day } = options;
    const login: Login = {
      id: this.all.length + 1,
      lifetime: refreshed,
      scopes: options.scopes ?? ['user:inference', 'user:profile'],
      endsAt: this.#now() + deadline,
      revoked: undefined,
      refreshes: 0,
      refreshToken: '',
    };
    this.all.push(login);
    return { login, lifetime, answer: this.#issue(login, lifetime) };
  }

  /** New tokens for a refresh token, or undefined: `invalid_grant`. */
  refresh(refreshToken: string): TokenAnswer | undefined {
    const login = this.#owners.get(refreshToken);
    if (!login || login.revoked) return undefined;
    if (login.refreshToken !== refreshToken) login.revoked = 'reuse';
    else if (login.endsAt <= this.#now()) login.revoked = 'ended';
    if (login.revoked) return undefined;
    login.refreshes += 1;
    return this.#issue(login);
  }

  /** Whose a refresh token is or was; undefined if nobody's. */
  ownerOf(refreshToken: string): Login | undefined {
    return this.#owners.get(refreshToken);
  }

  /** Whether the model API lets in who shows it. */
  admits(accessToken: string): boolean {
    const known = this.#accessTokens.get(accessToken);
    return known !== undefined && !known.login.revoked && known.endsAt > this.#now();
  }

  #issue(login: Login, lifetime = login.lifetime): TokenAnswer {
    const token = (kind: string): string =>
      `sk-ant-${kind}01-stand-in-${login.id}-${login.refreshes}-${randomBytes(12).toString('hex')}`;
    const accessToken = token('oat');
    login.refreshToken = token('ort');
    this.#owners.set(login.refreshToken, login);
    const now = this.#now();
    this.#accessTokens.set(accessToken, { login, endsAt: now + lifetime });
    return {
      token_type: 'Bearer',
      access_token: accessToken,
      refresh_token: login.refreshToken,
      expires_in: Math.round(lifetime / 1_000),
      refresh_token_expires_in: Math.round((login.endsAt - now) / 1_000),
      scope: login.scopes.join(' '),
      account: { uuid: `account-${login.id}`, email_address: 'somebody@example.org' },
      organization: { uuid: `organization-${login.id}`, name: 'Example' },
    };
  }
}
