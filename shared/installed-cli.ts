/**
 * What init has put on the volume of the CLI, and the supervisor may run: a directory for each tarball,
 * named by its sha512, with the binary and the tarball it was taken from; and a record of which counts.
 * Always holds: what the record says is an id and no path, so it leads nowhere else; who reads it
 * believes it no further, for all of this can be written by what the CLI runs.
 */
import { createHash } from 'node:crypto';
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { BerthError } from './errors.ts';
import { readVersioned } from './versioned-file.ts';

/** Below the state directory. */
export const installedDirectory = 'claude';
export const installedFile = 'cli.json';
/** Which of them have passed their self-test here; the supervisor's own note. */
export const testedFile = 'cli-tested.json';

/** How many ids of tested ones are kept. */
export const mostTested = 8;

const id = z.string().regex(/^[0-9a-f]{32}$/);
const installed = z.object({
  version: z.literal(1),
  current: id,
  /** What was used before, if it is still there. */
  previous: id.optional(),
});
const tested = z.object({ version: z.literal(1), ids: z.array(id).max(mostTested) });

export type Installed = Omit<z.infer<typeof installed>, 'version'>;

/** Names an installation. @param integrity `sha512-<base64>` of the tarball */
export function idOf(integrity: string): string {
  return createHash('sha256').update(integrity).digest('hex').slice(0, 32);
}

/** Where the files of one lie. */
export function installedPlace(stateDirectory: string, id: string) {
  const directory = join(stateDirectory, installedDirectory, id);
  return { directory, binary: join(directory, 'claude'), tarball: join(directory, 'claude.tgz') };
}

/** Whether there is a binary of that id at all. */
export async function isInstalled(stateDirectory: string, id: string): Promise<boolean> {
  const { directory, binary } = installedPlace(stateDirectory, id);
  const found = await Promise.all([directory, binary].map((path) => lstat(path).catch(() => null)));
  return found[0]?.isDirectory() === true && found[1]?.isFile() === true;
}

/** Undefined if there is none, or none of use. */
export async function readInstalled(stateDirectory: string): Promise<Installed | undefined> {
  const read = await readOrNothing(join(stateDirectory, installedFile), installed);
  return read && { current: read.current, ...(read.previous ? { previous: read.previous } : {}) };
}

export async function readTested(stateDirectory: string): Promise<string[]> {
  return (await readOrNothing(join(stateDirectory, testedFile), tested))?.ids ?? [];
}

/** A newer berth's is none of use either: what it installed can be installed again. */
async function readOrNothing<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  try {
    const read = await readVersioned(path, schema, 4_096);
    return read.kind === 'valid' ? read.value : undefined;
  } catch (error) {
    if (error instanceof BerthError) return undefined;
    throw error;
  }
}
