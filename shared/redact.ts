/**
 * Removes secrets from text before it is shown: known secrets, and every text with the shape of a
 * token.
 * Invariants: secrets are searched in the original text, so a planted secret in a file cannot
 * remove a part of another secret and reveal the rest. The number of remembered secrets is bounded.
 */

/** Secrets, oldest first, with the forms in which each may appear. */
const known = new Map<string, Set<string>>();

/**
 * The number of oldest secrets that are kept for ever: the settings (a GitHub App's key has a
 * hundred lines).
 */
const oldest = 256;
/** The number of newest secrets that are kept, such as the tokens of each login. */
const newest = 64;
/** In characters. Shorter secrets would match by accident. */
const shortest = 8;

/** From now on `secret` is replaced wherever it would be shown. */
export function neverShow(secret: string | undefined): void {
  if (secret === undefined || secret.length < shortest) return;
  // A repeated secret counts as new: it is kept as long as a secret that was just added.
  if ([...known.keys()].indexOf(secret) >= oldest) known.delete(secret);
  const inUrl = encodeURIComponent(secret.toWellFormed());
  const inJson = JSON.stringify(secret).slice(1, -1);
  known.set(secret, new Set([secret, inUrl, inJson]));
  if (known.size <= oldest + newest) return;
  const [dropped] = [...known.keys()].slice(oldest);
  if (dropped !== undefined) known.delete(dropped);
}

/** Shapes of tokens: Anthropic's, GitHub's, GitLab's, bearer and basic headers, logins in URLs. */
const shapes: readonly RegExp[] = [
  /sk-ant-[A-Za-z0-9_-]{8,}/g,
  /\b(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{16,})/g,
  /(?<=\b(?:bearer|basic) {1,8})[A-Za-z0-9+/=_.~-]{8,}/gi,
  /(?<=https?:\/\/)[^/@\s"]+(?=@)/g,
];

/** The text with `[redacted]` instead of every secret. */
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
    // Most texts match no shape, and a search for all matches copies the expression.
    if (text.search(shape) < 0) continue;
    for (const { index, 0: token } of text.matchAll(shape))
      found.push([index, index + token.length]);
  }
  return found.length === 0 ? text : without(text, found);
}

/** Overlapping matches are replaced together. */
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

/** Redacts every text in a JSON value, keys too; other values stay unchanged. */
export function redactValue(value: unknown): unknown {
  if (typeof value === 'string') return redact(value);
  if (Array.isArray(value)) return value.map(redactValue);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [redact(key), redactValue(item)]),
  );
}
