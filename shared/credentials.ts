/**
 * Parses, judges and compares the CLI's OAuth credentials files.
 * Invariants: a file that is judged `valid` can log the CLI in at least until its refresh token is
 * used. Blank files (which the CLI writes after `invalid_grant`) and torn files never count as
 * credentials. The shape is that of the CLI 2.1.330:
 * `{"claudeAiOauth":{accessToken,refreshToken,expiresAt,refreshTokenExpiresAt?,scopes,...}}`, times
 * in milliseconds since 1970.
 */
import { z } from 'zod';
import { digestOf } from './digest.ts';
import { neverShow } from './redact.ts';

/** The range of Date; another number is not a time. */
const time = z.number().min(0).max(8.64e15);

/**
 * Printable characters without space, quote and backslash: a token, not a text that was written to
 * be redacted.
 */
const token = z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]{0,4096}$/, { error: 'not a token' });

const oauth = z.looseObject({
  accessToken: token,
  refreshToken: token.nullish(),
  expiresAt: time,
  refreshTokenExpiresAt: time.nullish(),
  scopes: z.array(z.string()).min(1),
});

const file = z.looseObject({ claudeAiOauth: oauth });

/** The size limit of a credentials file, in bytes. */
export const credentialsLimit = 64 * 1024;

export const credentialsFileName = '.credentials.json';

/** Names a source in berth's records. */
export interface SourceId {
  /** SHA-256 of the exact text, hex. */
  digest: string;
  /**
   * SHA-256 of the login in the text, hex: independent of spaces, line ends, the order of the fields
   * and other content. Undefined in the record of an earlier berth.
   */
  loginDigest?: string | undefined;
}

export interface Credentials extends SourceId {
  /** The exact text of the file. */
  text: string;
  loginDigest: string;
  /** When the access token expires, in ms since 1970. The CLI refreshes the token. */
  expiresAt: number;
  /** When a person must log in again, in ms since 1970, if the file states it. */
  refreshTokenExpiresAt: number | undefined;
  /** First 12 hex digits of the access token's SHA-256. */
  accessTokenId: string;
  /** First 12 hex digits of the refresh token's SHA-256: names the token in logs. */
  refreshTokenId: string | undefined;
}

export type Judgement =
  | { kind: 'valid'; credentials: Credentials }
  /** Well-formed but without tokens. */
  | { kind: 'blank' }
  /** Not valid JSON, or not yet complete. */
  | { kind: 'torn'; reason: string };

export function judgeCredentials(content: string | Uint8Array): Judgement {
  const text = typeof content === 'string' ? content : Buffer.from(content).toString('utf8');
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return { kind: 'torn', reason: text.trim() === '' ? 'it is empty' : 'it is not valid JSON' };
  }
  const parsed = file.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return { kind: 'torn', reason: `${issue?.path.join('.') || 'it'}: ${issue?.message}` };
  }
  const login = parsed.data.claudeAiOauth;
  const { accessToken, refreshToken, expiresAt, refreshTokenExpiresAt } = login;
  if (accessToken === '') return { kind: 'blank' };
  return {
    kind: 'valid',
    credentials: {
      text,
      digest: digestOf(text),
      loginDigest: loginDigestOf(login),
      expiresAt,
      refreshTokenExpiresAt: refreshTokenExpiresAt ?? undefined,
      accessTokenId: digestOf(accessToken).slice(0, 12),
      refreshTokenId: refreshToken ? digestOf(refreshToken).slice(0, 12) : undefined,
    },
  };
}

/**
 * Nested values are left out, except the scopes: the CLI writes no others, and a hostile file may
 * nest them too deeply for JSON.stringify.
 */
function loginDigestOf({ scopes, ...rest }: z.infer<typeof oauth>): string {
  const fields = Object.entries(rest).filter(([, value]) => !(value instanceof Object));
  return digestOf(JSON.stringify([fields.sort(([a], [b]) => (a < b ? -1 : 1)), scopes]));
}

/**
 * Whether both are the same login of a person. A Secret that a tool has rendered again, with another
 * line end for example, is not a new source.
 */
export function isSameSource(a: SourceId, b: SourceId | undefined): boolean {
  if (b === undefined) return false;
  return a.digest === b.digest || (a.loginDigest !== undefined && a.loginDigest === b.loginDigest);
}

/** The credentials whose access token expires later; the first if they expire together. */
export function fresher(a: Credentials, b: Credentials): Credentials {
  return b.expiresAt > a.expiresAt ? b : a;
}

/** Characters. Real tokens have a hundred; a shorter, made-up one could be any word of the log. */
const shortestToken = 20;

/** From now on the tokens of the credentials are redacted wherever they would be shown. */
export function hideTokens(credentials: Credentials): void {
  const { accessToken, refreshToken } = file.parse(JSON.parse(credentials.text)).claudeAiOauth;
  for (const token of [accessToken, refreshToken ?? '']) {
    if (token.length >= shortestToken) neverShow(token);
  }
}

/** The content of the file beside the login. */
export function othersIn(content: Uint8Array): Record<string, unknown> {
  try {
    const json: unknown = JSON.parse(Buffer.from(content).toString('utf8'));
    if (typeof json !== 'object' || json === null || Array.isArray(json)) return {};
    const { claudeAiOauth: _, ...others } = json as Record<string, unknown>;
    return others;
  } catch {
    return {};
  }
}

/**
 * The new login, with the entries that the CLI kept beside the old login and that the new file
 * lacks.
 */
export function withOthers(text: string, others: Record<string, unknown>): string {
  const fresh = JSON.parse(text);
  const missing = Object.keys(others).filter((key) => !Object.hasOwn(fresh, key));
  return missing.length === 0 ? text : JSON.stringify({ ...others, ...fresh });
}

/** The id of a login in berth's records: its refresh token, or otherwise the whole file. */
export function loginId({ refreshTokenId, digest }: Credentials): string {
  return refreshTokenId ?? digest.slice(0, 12);
}

/** The remedies for a lost login, the simplest first. */
export const loginRemedy =
  'log in again: put the token of a new `claude setup-token` into the Secret as CLAUDE_CODE_OAUTH_TOKEN and restart the pod, or run `berth login` in the pod (kubectl exec -it), or put a new credentials file into the Secret';
