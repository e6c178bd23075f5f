/**
 * Large results, each in a file of its own, so that the database stays small.
 * Invariants: a file is complete and durable before the row that names it. A file without a row is removed by `sweep`.
 * No symlink is followed.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { isUnread } from '../../../shared/errors.ts';
import { makeDirectoriesSync, unreadable } from '../../../shared/files.ts';
import { StoredFlaw } from '../stored-flaw.ts';

/** A larger result is kept in a file. In bytes of JSON. */
export const largestInRow = 1024 * 1024;

const largestFile = 512 * 1024 * 1024;

export class ResultFiles {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  write(id: string, text: string): void {
    makeDirectoriesSync(this.#directory, 0o700);
    const temporary = join(this.#directory, `.${id}-${randomBytes(4).toString('hex')}.tmp`);
    try {
      const file = openSync(temporary, 'wx', 0o600);
      try {
        writeFileSync(file, text);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(temporary, this.#pathOf(id));
      this.#syncDirectory();
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
  }

  /**
   * @throws BerthError `volume_unwritable` if the file cannot be read just now
   * @throws Error if there is no such file, or it is not a regular file of a possible size
   */
  read(id: string): string {
    const path = this.#pathOf(id);
    try {
      return readRegular(path);
    } catch (error) {
      throw isUnread(error) ? unreadable(path, error, 'when the result is needed again') : error;
    }
  }

  remove(id: string): void {
    rmSync(this.#pathOf(id), { force: true, recursive: true });
  }

  /** Removes what is no file of a job for which `isKept` is true. @returns the number of removed files */
  sweep(isKept: (id: string) => boolean): number {
    makeDirectoriesSync(this.#directory, 0o700);
    const orphans = readdirSync(this.#directory).filter(
      (file) => !(file.endsWith('.json') && isKept(file.slice(0, -'.json'.length))),
    );
    for (const file of orphans) {
      rmSync(join(this.#directory, file), { force: true, recursive: true });
    }
    return orphans.length;
  }

  #pathOf(id: string): string {
    return join(this.#directory, `${id}.json`);
  }

  #syncDirectory(): void {
    const directory = openSync(this.#directory, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      fsyncSync(directory);
    } finally {
      closeSync(directory);
    }
  }
}

function readRegular(path: string): string {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = openSync(path, flags);
  try {
    const status = fstatSync(file);
    if (!status.isFile() || status.size > largestFile)
      throw new StoredFlaw('not a file of a result');
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}
