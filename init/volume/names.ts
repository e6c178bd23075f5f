/**
 * Names that a volume may take for one: some file systems do not tell `README.md` from `readme.md`,
 * or the two ways in which Unicode writes an é; and some know no symlinks. Always holds: the volume is only asked where the
 * answer matters, and of names that are one there the first by its code points wins.
 */
import { randomBytes } from 'node:crypto';
import { lstat, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../../shared/errors.ts';

/** Two paths with the same result are the same file on the volume. */
export type Fold = (path: string) => string;

export const tellsAll: Fold = (path) => path;

/** As the least telling of file systems compares. */
const foldAll: Fold = (path) => path.normalize('NFC').toLowerCase();

/** Whether any two of `paths`, or of the directories they lie in, could be taken for one. */
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

/** How the volume compares names; found out by making a file on it. */
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
    if (!anyCase && !anyForm) return tellsAll;
    return (path) => {
      const form = anyForm ? path.normalize('NFC') : path;
      return anyCase ? form.toLowerCase() : form;
    };
  });
}

/** Whether the volume can hold symlinks: exFAT, SMB and some of FUSE cannot. */
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

/** Tries something out in a directory of its own, of which nothing stays. */
async function probed<T>(directory: string, look: (probe: string) => Promise<T>): Promise<T> {
  const probe = join(directory, `.berth-${randomBytes(6).toString('hex')}.tmp`);
  await mkdir(probe);
  try {
    return await look(probe);
  } finally {
    await rm(probe, { recursive: true, force: true });
  }
}

/**
 * What is known of the paths that are really on the volume, and that again under those of `wanted`
 * that are the same there.
 */
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

/** Of paths that are one on the volume, all but the winner: loser -> winner. */
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
