/**
 * The `.git` that a clone into the volume leaves when it is cut short, as the old script's could be.
 * It is in nobody's way but may hold a token in its settings: so it is saved, and the token is not.
 */
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import type { Aside } from '../../shared/set-aside.ts';

/** To the last @ of the line, for a token may hold one. */
const login = /:\/\/\S*@/g;

/** @returns where it is now, or undefined if there was none */
export async function saveGitDirectory(
  configDirectory: string,
  conflicts: Aside,
): Promise<string | undefined> {
  const path = join(configDirectory, '.git');
  const status = await lstat(path).catch(() => undefined);
  if (!status) return undefined;
  const settings = join(path, 'config');
  const read = status.isDirectory() ? readFileBounded(settings, 64 * 1024) : undefined;
  const text = (await read?.catch(() => undefined))?.toString() ?? '';
  const clean = text.replace(login, '://');
  if (clean !== text) await writeFileAtomic(settings, clean);
  return conflicts.save(path, '.git');
}
