/**
 * Watches directories of the configuration for changes of their entries.
 * Invariants: a directory that was replaced is watched again. A directory that cannot be watched is left out, because
 * its user also checks periodically.
 */
import { type FSWatcher, lstatSync, watch } from 'node:fs';
import { basename } from 'node:path';
import { statusAt } from './entries.ts';

interface Watched {
  watcher: FSWatcher;
  /** Of the directory. */
  inode: number;
}

const mostWatched = 1_000;

export class DirectoryWatches {
  readonly #root: string;
  readonly #onEvent: (directory: string, name: string | null) => void;
  readonly #watched = new Map<string, Watched>();

  /** @param onEvent gets the path of the directory below the root, which is itself the empty text */
  constructor(root: string, onEvent: (directory: string, name: string | null) => void) {
    this.#root = root;
    this.#onEvent = onEvent;
  }

  has(directory: string): boolean {
    return this.#watched.has(directory);
  }

  /**
   * Watches these directories, and no others.
   * @returns whether a directory is watched that was not watched before
   */
  set(directories: Iterable<string>): boolean {
    const wanted = new Set(directories);
    for (const [directory, { inode }] of this.#watched) {
      const isSame = wanted.has(directory) && statusAt(this.#full(directory))?.ino === inode;
      if (!isSame) this.#forget(directory);
    }
    let isNew = false;
    for (const directory of wanted) {
      if (this.#watched.has(directory) || this.#watched.size >= mostWatched) continue;
      try {
        const { ino: inode } = lstatSync(this.#full(directory));
        const watcher = watch(this.#full(directory), (_, name) => this.#seen(directory, name));
        watcher.on('error', () => this.#forget(directory));
        this.#watched.set(directory, { watcher, inode });
        isNew = true;
      } catch {
        // The directory does not exist any more, or there are no more watches.
      }
    }
    return isNew;
  }

  #seen(directory: string, name: string | null): void {
    const isEntry = name !== basename(this.#full(directory));
    // An event of the directory itself has its name: the watch may have ended with the directory, and a new directory
    // may get the same inode.
    if (!isEntry) this.#forget(directory);
    this.#onEvent(directory, isEntry ? name : null);
  }

  close(): void {
    for (const { watcher } of this.#watched.values()) watcher.close();
    this.#watched.clear();
  }

  #forget(directory: string): void {
    this.#watched.get(directory)?.watcher.close();
    this.#watched.delete(directory);
  }

  #full(path: string): string {
    return path === '' ? this.#root : `${this.#root}/${path}`;
  }
}
