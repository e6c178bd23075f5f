/**
 * Reverts one path of the configuration directory, and sets the changed file aside.
 * Invariants: the work is done when the call returns, so that nothing in this process runs in
 * between. Each file appears by a rename, complete. No symlink is followed below the root.
 */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  linkSync,
  lstatSync,
  renameSync,
  rm,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { releaseReserve } from '../../shared/disk-reserve.ts';
import { systemCode } from '../../shared/errors.ts';
import { makeDirectoriesSync } from '../../shared/files.ts';
import { type Content, statusAt } from './entries.ts';

/**
 * The maximum number of files saved in one run of the program; further files are deleted in the background, because they
 * would fill the disk.
 */
const mostSaved = 1_000;

function make(path: string, { kind, bytes, executable }: Omit<Content, 'oid'>): void {
  if (kind === 'symlink') {
    symlinkSync(bytes, path);
    return;
  }
  const mode = executable ? 0o755 : 0o644;
  try {
    writeFileSync(path, bytes, { mode });
  } catch (error) {
    if (systemCode(error) !== 'ENOSPC' || !releaseReserve()) throw error;
    writeFileSync(path, bytes, { mode });
  }
  chmodSync(path, mode);
}

export class PutBack {
  readonly #root: string;
  readonly #stateDirectory: string;
  #place: string | undefined;
  #saved = 0;

  constructor(root: string, stateDirectory: string) {
    this.#root = root;
    this.#stateDirectory = stateDirectory;
  }

  /**
   * Makes `path` equal to `content`.
   * @returns the path of the saved file; undefined if there was none, or the maximum is reached
   * @throws Error of the file system
   */
  restore(path: string, content: Content): string | undefined {
    const full = `${this.#root}/${path}`;
    const saved = this.#clearWay(path);
    makeDirectoriesSync(dirname(full));
    const temporary = join(this.#stateDirectory, `.restore-${randomBytes(6).toString('hex')}`);
    try {
      make(temporary, content);
      renameSync(temporary, full);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
    return saved;
  }

  /**
   * Replaces the content of a private file of the CLI, which finds the file complete at any moment.
   * @returns the path of the saved file; undefined if the maximum is reached
   * @throws Error of the file system
   */
  replace(path: string, bytes: Buffer): string | undefined {
    const full = `${this.#root}/${path}`;
    const temporary = join(this.#stateDirectory, `.restore-${randomBytes(6).toString('hex')}`);
    try {
      make(temporary, { kind: 'file', bytes, executable: false });
      chmodSync(temporary, 0o600);
      const saved = this.#saved < mostSaved ? this.#nextPlace(path) : undefined;
      if (saved !== undefined) linkSync(full, saved);
      renameSync(temporary, full);
      return saved;
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
  }

  /** Moves what is at `path` away. @returns its new path, as `replace`. @throws Error of the file system */
  setAside(path: string): string | undefined {
    const to = this.#nextPlace(path);
    renameSync(`${this.#root}/${path}`, to);
    return this.#kept(to);
  }

  /**
   * Moves paths of one directory away; they count as one file.
   * @returns the new path of that directory, as `replace`
   * @throws Error of the file system
   */
  setAllAside(paths: readonly string[]): string | undefined {
    const [first = ''] = paths;
    const to = dirname(this.#nextPlace(first));
    for (const path of paths) renameSync(`${this.#root}/${path}`, join(to, basename(path)));
    return this.#kept(to);
  }

  /** A directory can have any number of entries, so its removal may not block the program. */
  #kept(saved: string): string | undefined {
    if (this.#saved <= mostSaved) return saved;
    rm(saved, { recursive: true, force: true }, () => {});
    return undefined;
  }

  /** A directory for each file: below it, the file keeps its path, which init proposes upstream. */
  #nextPlace(path: string): string {
    this.#saved += 1;
    const to = join(this.#openPlace(), String(this.#saved), path);
    makeDirectoriesSync(dirname(to));
    return to;
  }

  #clearWay(path: string): string | undefined {
    const parts = path.split('/');
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join('/');
      const found = statusAt(`${this.#root}/${parent}`);
      if (found && !found.isDirectory()) this.setAside(parent);
    }
    return statusAt(`${this.#root}/${path}`) && this.setAside(path);
  }

  #openPlace(): string {
    if (this.#place !== undefined && lstatSync(this.#place, { throwIfNoEntry: false })) {
      return this.#place;
    }
    const stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
    const suffix = randomBytes(3).toString('hex');
    this.#place = join(this.#stateDirectory, 'conflicts', `${stamp}-serve-${suffix}`);
    makeDirectoriesSync(this.#place);
    return this.#place;
  }
}
