/**
 * Removes secrets from text that is about to be shown: those that this process was given, and
 * whatever has the shape of a token. Text, not paths of keys: a secret may stand in any field.
 */

const known = new Set<string>();

/** From now on `secret` is replaced wherever it would be shown. Short ones would match by accident. */
export function neverShow(secret: string | undefined): void {
  if (secret === undefined || secret.length < 8) return;
  for (const form of [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)]) {
    known.add(form);
  }
}

/** Tokens by shape: Anthropic's, GitHub's, GitLab's, bearer and basic headers, logins in URLs. */
const shapes: readonly [RegExp, string][] = [
  [/sk-ant-[A-Za-z0-9_-]{8,}/g, '[redacted]'],
  [
    /\b(gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{16,})/g,
    '[redacted]',
  ],
  [/\b(bearer|basic) +[A-Za-z0-9+/=_.~-]{8,}/gi, '$1 [redacted]'],
  [/(https?:\/\/)[^/@\s"]+@/g, '$1[redacted]@'],
];

export function redact(text: string): string {
  let shown = text;
  for (const secret of known) shown = shown.replaceAll(secret, '[redacted]');
  for (const [shape, replacement] of shapes) shown = shown.replace(shape, replacement);
  return shown;
}
