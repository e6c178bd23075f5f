/**
 * Copies of upstream's executable configuration in berth's state, for a start of the container
 * without init: edits made while no supervisor ran are reverted from these copies.
 * Invariants: a copy is named by its git blob id and used only if its content has that id. There is
 * one copy for each file that init has recorded, and no other.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectories, readFileBounded, writeFileAtomic } from '../../shared/files.ts';
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

/**
 * @param wanted contents by their ids; all other copies are deleted. @throws Error of the file
 * system
 */
export async function writeCopies(
  stateDirectory: string,
  wanted: ReadonlyMap<string, Buffer>,
): Promise<void> {
  const directory = join(stateDirectory, copiesDirectory);
  await makeDirectories(directory, 0o700);
  for (const name of await readdir(directory)) {
    if (!wanted.has(name)) await rm(join(directory, name), { recursive: true, force: true });
  }
  for (const [oid, content] of wanted) {
    if (await readCopy(stateDirectory, oid)) continue;
    await writeFileAtomic(join(directory, oid), content, { mode: 0o600, durable: false });
  }
}
