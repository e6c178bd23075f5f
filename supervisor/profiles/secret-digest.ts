/**
 * A digest of the files in a profile's environment: after the rotation of a Secret, it
 * distinguishes processes with the old value from those with the new value.
 */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { Profile } from './profile.ts';

/** Variables that name a file with a login, which a process reads only once. */
const readOnce = new Set(['GOOGLE_APPLICATION_CREDENTIALS', 'AWS_SHARED_CREDENTIALS_FILE']);

/** The number of bytes of a file that count; more than a variable may have. */
const most = 256 * 1024;

/**
 * Undefined for a profile without such files.
 * @param known the digest that stays if a file cannot be read, so that running processes are kept
 */
export async function secretDigest(
  { environment }: Profile,
  known: string | undefined,
): Promise<string | undefined> {
  const files = Object.entries(environment).flatMap(([name, value]) => {
    if (typeof value !== 'string') return [value.file];
    return readOnce.has(name) && value.startsWith('/') ? [value] : [];
  });
  if (files.length === 0) return undefined;
  const digest = createHash('sha256');
  try {
    for (const file of files) {
      const content = await readStart(file);
      digest.update(`${content.length} `).update(content);
    }
  } catch {
    return known;
  }
  return digest.digest('base64url');
}

async function readStart(path: string): Promise<Buffer> {
  // Not readFileBounded: a mounted Secret is a symlink, and it belongs to the operator, not to the
  // volume.
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(most), 0, most, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
