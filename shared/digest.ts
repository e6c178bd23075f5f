/** The SHA-256 of a content, with which berth recognises the content later. */
import { createHash } from 'node:crypto';

/** SHA-256 of a text (as UTF-8) or of bytes, in hex digits. */
export function digestOf(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}
