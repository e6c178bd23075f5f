/**
 * A private configuration directory outside the volume, for a login that is not validated yet.
 * Invariants: only its owner may enter it. It is removed after the work; the next `berth login`
 * removes leftovers of a killed one.
 */
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { digestOf } from '../../shared/digest.ts';
import { unwritable } from '../../shared/files.ts';

/**
 * Only one call may run at a time for a volume.
 * @param configDirectory the volume of the login
 * @throws BerthError `volume_unwritable`
 */
export async function inPrivate<T>(
  configDirectory: string,
  work: (directory: string) => Promise<T>,
): Promise<T> {
  const prefix = `berth-login-${digestOf(configDirectory).slice(0, 8)}-`;
  const parent = tmpdir();
  const entries = await readdir(parent).catch(() => []);
  const left = entries.filter((name) => name.startsWith(prefix)).map((name) => join(parent, name));
  for (const path of left) await rm(path, { recursive: true, force: true }).catch(() => undefined);
  const directory = await mkdtemp(join(parent, prefix)).catch((error: unknown) => {
    throw unwritable(parent, error);
  });
  try {
    await chmod(directory, 0o700);
    return await work(directory);
  } finally {
    await rm(directory, { recursive: true, force: true, maxRetries: 3 });
  }
}
