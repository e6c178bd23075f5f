/**
 * Copies of upstream's executable configuration in berth's state, for a start of the container without
 * one of init: what was edited while no supervisor ran is put back from them.
 * Always holds: a copy is named by its git blob id and believed only if its content has that id; there
 * is one for each file that init has recorded, and no other.
 */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import { copiesDirectory } from '../../shared/state-directory.ts';
import { blobId, largestFile } from './entries.ts';

export async function readCopy(stateDirectory: string, oid: string): Promise<Buffer | undefined> {
  try {
    const content = await readFileBounded(join(stateDirectory, copiesDirectory, oid), largestFile);
    return content && blobId(content) === oid ? content : undefined;
  } catch {
    return undefined;
  }
}

/** @param wanted contents by their ids; all others are deleted. @throws Error of the file system */
export async function writeCopies(
  stateDirectory: string,
  wanted: ReadonlyMap<string, Buffer>,
): Promise<void> {
  const directory = join(stateDirectory, copiesDirectory);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  for (const name of await readdir(directory)) {
    if (!wanted.has(name)) await rm(join(directory, name), { recursive: true, force: true });
  }
  for (const [oid, content] of wanted) {
    if (await readCopy(stateDirectory, oid)) continue;
    await writeFileAtomic(join(directory, oid), content, { mode: 0o600, durable: false });
  }
}
