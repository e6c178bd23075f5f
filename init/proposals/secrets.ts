/**
 * Searches text for secrets before it leaves the volume: secrets that berth knows, the live login,
 * the rules of secretlint, assignments to names such as `password`, and text that looks random.
 * Invariants: a doubt counts as a secret. Nothing of a secret is returned, only what kind of secret
 * it is. The scan finds accidents; it cannot find a secret that somebody encodes on purpose.
 */
import { join } from 'node:path';
import { credentialsFileName, credentialsLimit } from '../../shared/credentials.ts';
import { readFileBounded } from '../../shared/files.ts';
import { redact } from '../../shared/redact.ts';
import { looksRandom } from './randomness.ts';

/** Texts that must not occur, such as the tokens of the login. */
export type Login = readonly string[];

/** In characters: a shorter value could be any word. */
const shortest = 16;

/** Every long value of the login on the volume; empty without a readable login. */
export async function readLogin(configDirectory: string): Promise<Login> {
  const path = join(configDirectory, credentialsFileName);
  const content = await readFileBounded(path, credentialsLimit).catch(() => undefined);
  if (!content) return [];
  try {
    return valuesOf(JSON.parse(content.toString('utf8'))).filter((one) => one.length >= shortest);
  } catch {
    // A file that is written at the moment: its words may be tokens.
    return content.toString('utf8').match(/[\w.~+/=-]{24,}/g) ?? [];
  }
}

function valuesOf(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(valuesOf);
}

/**
 * A value that is assigned to the name of a secret: `password: "..."`, `API_KEY=...`. Placeholders
 * (`<token>`, `$TOKEN`, `changeme`) are no secrets.
 */
const assignment =
  /(?:passw(?:or)?d|passphrase|secret|token|credential|api[-_ ]?key|access[-_ ]?key|private[-_ ]?key|authorization)["'`]?\s{0,3}(?::|=>?|\bis\b)\s{0,3}["'`]?(?:bearer |basic )?(?![<${[(*])([^\s"'`<>]{8,})/gi;
const placeholder =
  /^(?:x+|\*+|\.+|[A-Z][A-Z0-9_]+|.*(?:example|changeme|change-me|placeholder|redacted|your[-_]|dummy).*|[a-z]+(?:[-_.][a-z]+)*[,.;:)]?)$/;

/** A block of a private key, also of kinds that a rule may not know. */
const privateKey = /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY/;
const jsonWebToken = /\beyJ[A-Za-z0-9_-]{8,1024}\.eyJ[A-Za-z0-9_-]{8,8192}\./;

/** The kind of the first secret in the text; undefined if there is none. @param name of the file */
export async function secretIn(
  text: string,
  name: string,
  login: Login,
): Promise<string | undefined> {
  if (login.some((one) => text.includes(one))) return 'the login of the CLI';
  if (redact(text) !== text) return 'a token';
  if (privateKey.test(text)) return 'a private key';
  if (jsonWebToken.test(text)) return 'a JSON web token';
  for (const [, value = ''] of text.matchAll(assignment)) {
    if (!placeholder.test(value)) return 'a value of a password, token or key';
  }
  if (looksRandom(text)) return 'text that looks random';
  return (await foundBySecretlint(text, name)) ? 'a secret (secretlint)' : undefined;
}

/** Loaded on demand: the rules take 10 MB of memory. */
async function foundBySecretlint(content: string, name: string): Promise<boolean> {
  const [{ lintSource }, { creator: rule }] = await Promise.all([
    import('@secretlint/core'),
    import('@secretlint/secretlint-rule-preset-recommend'),
  ]);
  const id = '@secretlint/secretlint-rule-preset-recommend';
  const { messages } = await lintSource({
    source: { filePath: `/${name}`, content, ext: '.txt', contentType: 'text' },
    options: { config: { rules: [{ id, rule, options: {} }] }, noPhysicFilePath: true },
  });
  return messages.length > 0;
}

/** The lines of `text` that `base` does not have, with the line breaks between neighbours. */
export function addedText(base: string, text: string): string {
  const known = new Set(base.split('\n'));
  return text
    .split('\n')
    .filter((line) => !known.has(line))
    .join('\n');
}
