/**
 * API tokens, kept and compared as SHA-256 only.
 * A line of the file is `name:sha256:<64 hex>` or, with a warning, `name:token` or `token`. Empty lines
 * and lines that begin with # are ignored.
 */
import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError, messageOf } from '../../shared/errors.ts';

export interface ApiToken {
  name: string;
  digest: Buffer;
}

/** The owner of a valid token. */
export interface Bearer {
  name: string;
  /** Identifies the token among those of that name. For comparisons only, never shown. */
  id: string;
}

/** The tokens that are valid now. */
export interface Tokens {
  /** The owner of this token; undefined if the token is unknown. */
  find(presented: string): Bearer | undefined;
  /** Whether the token with this id is still valid. */
  knows(id: string): boolean;
  /** Each name once. */
  names(): string[];
  /** Calls `listener` after tokens were revoked. */
  onRevoked(listener: () => void): void;
}

export interface ReadTokens {
  tokens: ApiToken[];
  /** Names of the tokens that are stored in plain text. */
  plain: string[];
}

const nameShape = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const shortestToken = 16;

export function digestToken(token: string): Buffer {
  return hash('sha256', token, 'buffer');
}

/** A new token for people or machines: 256 random bits, recognisable by its prefix. */
export function makeToken(): string {
  return `berth_${randomBytes(32).toString('base64url')}`;
}

/** The line of the token file for `token` with this name. */
export function tokenLine(name: string, token: string): string {
  if (!nameShape.test(name)) {
    throw new BerthError(
      'config_invalid',
      `cannot make a token for ${JSON.stringify(name)}: a name has letters, digits, dots, dashes and underscores, 64 at most; choose another`,
    );
  }
  return `${name}:sha256:${digestToken(token).toString('hex')}`;
}

/** The owner of `presented`. The time of the search does not depend on the token. */
export function bearerOf(tokens: readonly ApiToken[], presented: string): Bearer | undefined {
  const digest = digestToken(presented);
  let found: ApiToken | undefined;
  for (const token of tokens) {
    if (timingSafeEqual(token.digest, digest)) found = token;
  }
  return found && { name: found.name, id: idOf(found) };
}

/** The id includes the name, because sessions and budgets belong to names. */
export function idOf({ name, digest }: ApiToken): string {
  return `${name}:${digest.toString('hex')}`;
}

/** Tokens that never change. */
export function fixedTokens(tokens: readonly ApiToken[]): Tokens {
  const ids = new Set(tokens.map(idOf));
  return {
    find: (presented) => bearerOf(tokens, presented),
    knows: (id) => ids.has(id),
    names: () => [...new Set(tokens.map(({ name }) => name))],
    onRevoked: () => {},
  };
}

/**
 * Reads the tokens in a file, or in all files of a directory (as a Secret is mounted).
 * @throws BerthError `config_invalid` if there is none, or a line is wrong
 */
export async function readTokens(path: string): Promise<ReadTokens> {
  const read: ReadTokens = { tokens: [], plain: [] };
  try {
    for (const file of await filesOf(path)) {
      const lines = (await readFile(file, 'utf8')).split('\n');
      for (const [index, line] of lines.entries()) readLine(line.trim(), index + 1, file, read);
    }
  } catch (error) {
    if (error instanceof BerthError) throw error;
    throw new BerthError(
      'config_invalid',
      `cannot read the API tokens: ${messageOf(error)}; mount the Secret that BERTH_API_TOKENS_FILE names`,
      { cause: error },
    );
  }
  if (read.tokens.length === 0) {
    throw new BerthError(
      'config_invalid',
      `cannot find an API token in ${path}; add a line that \`berth token NAME\` prints`,
      { details: { tokens: 0 } },
    );
  }
  return read;
}

/** A mounted Secret also holds `..data` and its like: entries that begin with a dot are not files. */
async function filesOf(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path];
  const names = (await readdir(path)).filter((name) => !name.startsWith('.')).sort();
  return names.map((name) => join(path, name));
}

function readLine(line: string, number: number, file: string, read: ReadTokens): void {
  if (line === '' || line.startsWith('#')) return;
  const hashed = /^([^:]+):sha256:([0-9a-fA-F]{64})$/.exec(line);
  const named = /^([^:]+):(.+)$/.exec(line);
  const name = hashed?.[1] ?? named?.[1] ?? 'default';
  const wrong = (cause: string): BerthError =>
    new BerthError(
      'config_invalid',
      `cannot use line ${number} of ${file}: ${cause}; \`berth token NAME\` prints a right one`,
    );
  if (!nameShape.test(name)) throw wrong('the name before the colon is not valid');
  if (hashed) {
    read.tokens.push({ name, digest: Buffer.from(hashed[2] ?? '', 'hex') });
    return;
  }
  const token = named?.[2] ?? line;
  if (token.startsWith('sha256:')) throw wrong('a SHA-256 has 64 hex digits');
  if (token.length < shortestToken) throw wrong(`a token has ${shortestToken} characters at least`);
  read.tokens.push({ name, digest: digestToken(token) });
  read.plain.push(name);
}
