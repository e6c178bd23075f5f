/**
 * Detects names that a volume treats as equal: some file systems do not distinguish `README.md`
 * from `readme.md`, or the two Unicode forms of é; some have no symlinks.
 * Invariants: the volume is probed only if the answer matters. Of equal names, the first by code
 * points wins.
 */
import { randomBytes } from 'node:crypto';
import { lstat, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../../shared/errors.ts';

/** Two paths with the same result are the same file on the volume. */
export type Fold = (path: string) => string;

export const distinguishesAll: Fold = (path) => path;

/** The comparison of the least distinguishing file system. */
const foldAll: Fold = (path) => path.normalize('NFC').toLowerCase();

/** Whether two of `paths`, or of their directories, could be equal on some volume. */
export function mayCollide(paths: Iterable<string>): boolean {
  const seen = new Map<string, string>();
  for (const path of paths) {
    for (let end = path.length; end > 0; end = path.lastIndexOf('/', end - 1)) {
      const part = path.slice(0, end);
      const folded = foldAll(part);
      const other = seen.get(folded);
      if (other === part) break;
      if (other !== undefined) return true;
      seen.set(folded, part);
    }
  }
  return false;
}

/** How the volume compares names; determined by creating a file. */
export function foldOf(directory: string): Promise<Fold> {
  return probed(directory, async (probe) => {
    await writeFile(join(probe, 'a'), '');
    await writeFile(join(probe, '\u00e9'), '');
    const has = (name: string) =>
      lstat(join(probe, name)).then(
        () => true,
        () => false,
      );
    const anyCase = await has('A');
    const anyForm = await has('e\u0301');
    if (!anyCase && !anyForm) return distinguishesAll;
    return (path) => {
      const form = anyForm ? path.normalize('NFC') : path;
      return anyCase ? form.toLowerCase() : form;
    };
  });
}

/** Whether the volume supports symlinks: exFAT, SMB and some of FUSE do not. */
export function knowsSymlinks(directory: string): Promise<boolean> {
  return probed(directory, (probe) =>
    symlink('a', join(probe, 'b')).then(
      () => true,
      (error) => {
        if (['ENOSPC', 'EDQUOT', 'EIO'].includes(systemCode(error) ?? '')) throw error;
        return false;
      },
    ),
  );
}

/** Runs a probe in a new directory, which is removed afterwards. */
async function probed<T>(directory: string, look: (probe: string) => Promise<T>): Promise<T> {
  const probe = join(directory, `.berth-${randomBytes(6).toString('hex')}.tmp`);
  await mkdir(probe);
  try {
    return await look(probe);
  } finally {
    await rm(probe, { recursive: true, force: true });
  }
}

/** The records of the actual paths on the volume, also under equal names in `wanted`. */
export function underWantedNames<T>(
  known: ReadonlyMap<string, T>,
  wanted: ReadonlyMap<string, unknown>,
  fold: Fold,
): Map<string, T> {
  const lost = losers(known.keys(), fold);
  const all = new Map([...known].filter(([path]) => !lost.has(path)));
  const byFold = new Map([...all].map(([path, value]) => [fold(path), value]));
  for (const path of wanted.keys()) {
    const value = byFold.get(fold(path));
    if (value !== undefined && !all.has(path)) all.set(path, value);
  }
  return all;
}

/** For paths that are equal on the volume: loser -> winner. */
export function losers(paths: Iterable<string>, fold: Fold): Map<string, string> {
  const winners = new Map<string, string>();
  const lost = new Map<string, string>();
  for (const path of [...paths].sort()) {
    const parts = path.split('/');
    const parents = parts.slice(1).map((_, depth) => fold(parts.slice(0, depth + 1).join('/')));
    const winner = winners.get(fold(path)) ?? parents.map((one) => winners.get(one)).find(Boolean);
    if (winner === undefined) winners.set(fold(path), path);
    else if (winner !== path) lost.set(path, winner);
  }
  return lost;
}
