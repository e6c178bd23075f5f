/**
 * The CLI that init installed on the volume and that the supervisor may run. Each tarball has a
 * directory, named by its sha512, with the binary and the tarball. A record names the current
 * installation.
 * Invariant: the record holds an id and not a path, so it cannot point elsewhere. Readers must not
 * trust these files further, because programs that the CLI runs can write them.
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
/** The installations that passed their self-test here; the supervisor writes this file. */
export const testedFile = 'cli-tested.json';

/** The number of tested ids that are kept. */
export const mostTested = 8;

const id = z.string().regex(/^[0-9a-f]{32}$/);
const installed = z.object({
  version: z.literal(1),
  current: id,
  /** The installation before, if it still exists. */
  previous: id.optional(),
});
const tested = z.object({ version: z.literal(1), ids: z.array(id).max(mostTested) });

export type Installed = Omit<z.infer<typeof installed>, 'version'>;

/** The id of an installation. @param integrity `sha512-<base64>` of the tarball */
export function idOf(integrity: string): string {
  return createHash('sha256').update(integrity).digest('hex').slice(0, 32);
}

/** The paths of the files of an installation. */
export function installedPlace(stateDirectory: string, id: string) {
  const directory = join(stateDirectory, installedDirectory, id);
  return { directory, binary: join(directory, 'claude'), tarball: join(directory, 'claude.tgz') };
}

/** Whether a binary with this id exists. */
export async function isInstalled(stateDirectory: string, id: string): Promise<boolean> {
  const { directory, binary } = installedPlace(stateDirectory, id);
  const found = await Promise.all([directory, binary].map((path) => lstat(path).catch(() => null)));
  return found[0]?.isDirectory() === true && found[1]?.isFile() === true;
}

/** Undefined if there is no record or no usable record. */
export async function readInstalled(stateDirectory: string): Promise<Installed | undefined> {
  const read = await readOrNothing(join(stateDirectory, installedFile), installed);
  return read && { current: read.current, ...(read.previous ? { previous: read.previous } : {}) };
}

export async function readTested(stateDirectory: string): Promise<string[]> {
  return (await readOrNothing(join(stateDirectory, testedFile), tested))?.ids ?? [];
}

/** A record of a newer berth is unusable too: its CLI can be installed again. */
async function readOrNothing<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  try {
    const read = await readVersioned(path, schema, 4_096);
    return read.kind === 'valid' ? read.value : undefined;
  } catch (error) {
    if (error instanceof BerthError) return undefined;
    throw error;
  }
}
