/**
 * Removes secrets from text that is about to be shown: those that this process was given, and
 * whatever has the shape of a token. Always holds: what is found is found in the text as it was, so
 * that no secret, also one that somebody planted in a file, can take a piece out of another and
 * leave the rest; and what is remembered is bounded.
 */

/** Secrets, oldest first, with the forms in which each may be shown. */
const known = new Map<string, Set<string>>();

/** The settings come first: so many stay for ever (a GitHub App's key is a hundred lines). */
const oldest = 256;
/** Of those that come later, such as the tokens of each login, so many of the newest stay. */
const newest = 64;
/** Characters. Shorter ones would match by accident. */
const shortest = 8;

/** From now on `secret` is replaced wherever it would be shown. */
export function neverShow(secret: string | undefined): void {
  if (secret === undefined || secret.length < shortest) return;
  // A secret that comes again is a new one: it stays as long as if it had come just now.
  if ([...known.keys()].indexOf(secret) >= oldest) known.delete(secret);
  const inUrl = encodeURIComponent(secret.toWellFormed());
  const inJson = JSON.stringify(secret).slice(1, -1);
  known.set(secret, new Set([secret, inUrl, inJson]));
  if (known.size <= oldest + newest) return;
  const [dropped] = [...known.keys()].slice(oldest);
  if (dropped !== undefined) known.delete(dropped);
}

/** Tokens by shape: Anthropic's, GitHub's, GitLab's, bearer and basic headers, logins in URLs. */
const shapes: readonly RegExp[] = [
  /sk-ant-[A-Za-z0-9_-]{8,}/g,
  /\b(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{16,})/g,
  /(?<=\b(?:bearer|basic) {1,8})[A-Za-z0-9+/=_.~-]{8,}/gi,
  /(?<=https?:\/\/)[^/@\s"]+(?=@)/g,
];

/** The text with `[redacted]` in the place of every secret. */
export function redact(text: string): string {
  if (text.length < shortest) return text;
  const found: [start: number, end: number][] = [];
  for (const forms of known.values()) {
    for (const form of forms) {
      for (let at = text.indexOf(form); at >= 0; at = text.indexOf(form, at + 1)) {
        found.push([at, at + form.length]);
      }
    }
  }
  for (const shape of shapes) {
    // Most texts have none, and to search for all of them takes a copy of the expression.
    if (text.search(shape) < 0) continue;
    for (const { index, 0: token } of text.matchAll(shape))
      found.push([index, index + token.length]);
  }
  return found.length === 0 ? text : without(text, found);
}

/** Those that overlap are replaced as one. */
function without(text: string, found: [start: number, end: number][]): string {
  let shown = '';
  let from = 0;
  found.sort(([a], [b]) => a - b);
  for (let index = 0; index < found.length; ) {
    let [start, end] = found[index] as [number, number];
    for (index += 1; (found[index]?.[0] ?? Infinity) < end; index++) {
      end = Math.max(end, found[index]?.[1] ?? end);
    }
    shown += `${text.slice(from, start)}[redacted]`;
    from = end;
  }
  return shown + text.slice(from);
}

/** Every text in a value of JSON redacted, keys too; what is not text stays as it is. */
export function redactValue(value: unknown): unknown {
  if (typeof value === 'string') return redact(value);
  if (Array.isArray(value)) return value.map(redactValue);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [redact(key), redactValue(item)]),
  );
}
