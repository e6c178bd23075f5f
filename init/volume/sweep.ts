/** Removes the temporary files of killed runs, in all directories where runs write. */
import { readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { obstructedParent } from '../../shared/files.ts';
import { unsafePath } from './paths.ts';
import type { TreeRecord } from './record.ts';
import { isDirectory } from './state-directory.ts';
import { volumeEntries } from './subdirectory.ts';

const temporary = /^\.berth-[0-9a-f]{12}\.tmp$/;
/** An incomplete pack. */
const packTemporary = /^tmp-[0-9a-f]{12}$/;
/** A program that waits for the lease creates its temporary file again. */
const leaseTemporary = /^lease\.json\.[0-9a-f-]{36}$/;

interface SweepOptions {
  configDirectory: string;
  stateDirectory: string;
  applied: TreeRecord | undefined;
  /** Of an unfinished run: only such a run leaves temporary files among the tracked files. */
  pending: TreeRecord | undefined;
}

/** @returns the number of removed files */
export async function sweep(options: SweepOptions): Promise<number> {
  const { configDirectory, stateDirectory, applied, pending } = options;
  const packs = join(stateDirectory, 'git/objects/pack');
  const places = new Set([configDirectory, stateDirectory]);
  for (const place of ['base', 'git', 'git/refs/heads', 'git/objects/pack']) {
    if (await obstructedParent(stateDirectory, place)) continue;
    places.add(join(stateDirectory, place));
  }
  const records = pending ? [applied, pending] : [];
  for (const path of records.flatMap((one) => [...volumeEntries(one).keys()])) {
    if (unsafePath(path) || (await obstructedParent(configDirectory, path))) continue;
    places.add(join(configDirectory, dirname(path)));
  }
  let removed = 0;
  for (const directory of places) {
    if (!isDirectory(directory)) continue;
    for (const name of readdirSync(directory)) {
      const ofPack = directory === packs && packTemporary.test(name);
      if (!ofPack && !temporary.test(name) && !leaseTemporary.test(name)) continue;
      await rm(join(directory, name), { recursive: true, force: true });
      removed += 1;
    }
  }
  return removed;
}
