/**
 * Saves the `.git` that an interrupted clone into the volume leaves, such as the old script's. It
 * disturbs nothing, but may contain a token in its settings: it is saved without the token.
 */
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import type { Aside } from '../../shared/set-aside.ts';

/** Removes everything up to the last @ of the line, because a token may contain an @. */
const login = /:\/\/\S*@/g;

/** @returns the new path, or undefined if there was none */
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
