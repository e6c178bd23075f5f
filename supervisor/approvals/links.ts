/**
 * The key of a link with which a person decides one approval.
 * Invariants: a key is 256 random bits; only its digest is kept. A key names no token, and works for one approval until that
 * is decided.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { digestOf } from '../../shared/digest.ts';

/** Links of one approval that may be valid together: a restart makes a new one. */
export const mostLinks = 5;

export function newKey(): { key: string; digest: string } {
  const key = randomBytes(32).toString('base64url');
  return { key, digest: digestOf(key) };
}

export function opens(key: string, digests: readonly string[]): boolean {
  const own = Buffer.from(digestOf(key));
  return digests.some((each) => {
    const digest = Buffer.from(each);
    return digest.length === own.length && timingSafeEqual(digest, own);
  });
}
