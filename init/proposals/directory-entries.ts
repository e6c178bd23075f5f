/**
 * Reads the entries of directories that tools can fill at will.
 * Invariants: an entry is read when it is asked for, so a caller that stops at a bound has not loaded the
 * rest. A directory that cannot be read has no entries.
 */
import { type Dir, type Dirent, opendirSync } from 'node:fs';

/** The directory stays open until the last entry, or until the iterator ends. */
export function* entriesOf(path: string): Generator<Dirent, void> {
  let directory: Dir;
  try {
    directory = opendirSync(path);
  } catch {
    return;
  }
  try {
    for (let entry = next(directory); entry; entry = next(directory)) yield entry;
  } finally {
    directory.closeSync();
  }
}

function next(directory: Dir): Dirent | null {
  try {
    return directory.readSync();
  } catch {
    return null;
  }
}
