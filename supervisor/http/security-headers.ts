/**
 * Headers that let a browser only show an answer. There is no CORS: a page of another origin can neither
 * read an answer nor send a token.
 */
import { createHash } from 'node:crypto';
import type { ServerResponse } from 'node:http';

const headers: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
};

/** Sets the headers on the raw response, so that streams and errors of the framework have them too. */
export function setSecurityHeaders(response: ServerResponse): void {
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
}

/**
 * The policy of a page without scripts whose only style is `style`, inline.
 * @param formAction where its forms may be sent to
 */
export function pagePolicy(style: string, formAction = "'none'"): string {
  const hash = createHash('sha256').update(style).digest('base64');
  return `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action ${formAction}; frame-ancestors 'none'`;
}
