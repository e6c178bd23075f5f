/**
 * Names that a volume may take for one: some file systems do not tell `README.md` from `readme.md`,
 * or the two ways in which Unicode writes an é. Always holds: the volume is only asked where the
 * answer matters, and of names that are one there the first by its code points wins.
 */
import { randomBytes } from 'node:crypto';
import { lstat, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

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
export async function foldOf(directory: string): Promise<Fold> {
  const probe = join(directory, `.berth-${randomBytes(6).toString('hex')}.tmp`);
  await mkdir(probe);
  try {
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
  } finally {
    await rm(probe, { recursive: true, force: true });
  }
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
