/**
 * Cheap checks of the git directory, without reading objects. A flipped bit is found only when an object
 * is read and its id does not match. `init/source/` repairs the damage: it fetches again.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../../shared/errors.ts';
import { readFileBounded } from '../../shared/files.ts';

const idLength = 20;

/**
 * Returns the damage of the git directory; undefined if there is none, or if there is no git
 * directory.
 */
export async function findGitDamage(directory: string): Promise<string | undefined> {
  try {
    const head = await readFileBounded(join(directory, 'refs/heads/berth'), 64);
    if (head && !/^[0-9a-f]{40}\n?$/.test(head.toString())) return 'its ref is garbage';
    const shallow = await readFileBounded(join(directory, 'shallow'), 1024 * 1024);
    if (shallow && !/^([0-9a-f]{40}\n)*$/.test(shallow.toString())) return 'shallow is garbage';
    return await packDamage(join(directory, 'objects/pack'), head !== undefined);
  } catch (error) {
    return (error as Error).message;
  }
}

async function packDamage(directory: string, fetched: boolean): Promise<string | undefined> {
  if ((await lstat(directory).catch(absent))?.isSymbolicLink()) return 'a symlink is planted in it';
  const names = await readdir(directory).catch(absent);
  const packs = (names ?? []).filter((name) => name.endsWith('.pack'));
  if (fetched && packs.length === 0) return 'its pack is missing';
  for (const name of packs) {
    const index = name.replace(/pack$/, 'idx');
    // A pack without an index counts as missing when its objects are read.
    if (!names?.includes(index)) continue;
    const trailer = tail(join(directory, name), idLength);
    const expected = tail(join(directory, index), 2 * idLength);
    if (expected.length === 0) continue;
    if (!trailer.equals(expected.subarray(0, idLength))) return `${name} is torn`;
  }
  return undefined;
}

/** The last bytes of a file; empty if the file is shorter. @throws Error if it is no regular file */
function tail(path: string, length: number): Buffer {
  // O_NONBLOCK: a planted FIFO must not hang the reader.
  const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const status = fstatSync(file);
    if (!status.isFile()) throw new Error(`${path} is not a regular file`);
    const { size } = status;
    if (size < length) return Buffer.alloc(0);
    const bytes = Buffer.alloc(length);
    readSync(file, bytes, 0, length, size - length);
    return bytes;
  } finally {
    closeSync(file);
  }
}

function absent(error: unknown): undefined {
  if (systemCode(error) === 'ENOENT') return undefined;
  throw error;
}
