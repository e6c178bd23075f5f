/**
 * The directories that the CLI works in, below BERTH_WORKSPACE_DIR: one that all sessions share, or
 * one of its own for a session.
 * Always holds: a directory of its own has an unguessable name below `sessions/`, is closed to other
 * users, and is there before its process starts; it goes with its session, or with a worker that never
 * served one. A path is never taken from a record, only its last name, and only if berth could have
 * given it; no symlink is followed, and what berth did not name is left alone.
 */
import { randomBytes } from 'node:crypto';
import { lstatSync, mkdirSync } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { BerthError } from '../../shared/errors.ts';
import { unwritable } from '../../shared/files.ts';
import { removeTree } from '../../shared/remove-tree.ts';

export type DirectoryMode = 'shared' | 'session';

export interface WorkingDirectory {
  /** Absolute. */
  path: string;
  mode: DirectoryMode;
}

/** Holds the directories of sessions. */
export const ownDirectories = 'sessions';

const ownName = /^[0-9a-f]{24}$/;

export class Workspaces {
  readonly #root: string;
  /** By the name of the worker; `bound` when a session has it. */
  readonly #ofWorkers = new Map<string, { directory: WorkingDirectory; bound: boolean }>();

  /** @param root BERTH_WORKSPACE_DIR */
  constructor(root: string) {
    this.#root = root;
  }

  get shared(): WorkingDirectory {
    return { path: this.#root, mode: 'shared' };
  }

  /** The directory in which a session's directory is, whatever root it was made under. */
  pathOf({ path, mode }: WorkingDirectory): string | undefined {
    if (mode === 'shared') return this.#root;
    const name = basename(path);
    return ownName.test(name) ? join(this.#root, ownDirectories, name) : undefined;
  }

  /**
   * The directory for a worker that is about to start, made if it is not there; synchronous, for so
   * is the start of a process.
   * @param recorded what the record of the session to resume says; it may be gone with its volume
   * @throws BerthError `volume_unwritable`
   */
  make(worker: string, mode: DirectoryMode, recorded?: WorkingDirectory): WorkingDirectory {
    const path = recorded && this.pathOf(recorded);
    const directory = this.#made(path === undefined ? mode : (recorded?.mode ?? mode), path);
    this.#ofWorkers.set(worker, { directory, bound: path !== undefined });
    return directory;
  }

  /** The worker's directory, which belongs to the session that it serves from now on. */
  bind(worker: string): WorkingDirectory {
    const found = this.#ofWorkers.get(worker);
    if (!found) return this.shared;
    found.bound = true;
    return found.directory;
  }

  /** Called when the worker and all that it started are gone; never rejects. */
  async ended(worker: string): Promise<void> {
    const found = this.#ofWorkers.get(worker);
    this.#ofWorkers.delete(worker);
    // The next sweep has another try.
    if (found && !found.bound) await this.remove(found.directory).catch(() => undefined);
  }

  /**
   * Removes a session's own directory with all that is in it; a shared one stays.
   * @throws Error of the system if something of it cannot be removed
   */
  async remove(directory: WorkingDirectory): Promise<void> {
    const path = directory.mode === 'session' ? this.pathOf(directory) : undefined;
    if (path !== undefined && (await this.#isReal())) await removeTree(path);
  }

  /** The names of the directories of their own that there are now. */
  async names(): Promise<string[]> {
    if (!(await this.#isReal())) return [];
    const found = await readdir(join(this.#root, ownDirectories));
    return found.filter((name) => ownName.test(name));
  }

  /**
   * Removes the directories that no session names, which killed supervisors left.
   * @param found what was there before this program had a worker: later ones may have no record yet
   * @returns how many
   */
  async sweep(found: readonly string[], known: readonly WorkingDirectory[]): Promise<number> {
    if (!(await this.#isReal())) return 0;
    const used = [...this.#ofWorkers.values()].map(({ directory }) => directory);
    const names = new Set([...known, ...used].map(({ path }) => basename(path)));
    const orphans = found.filter((name) => ownName.test(name) && !names.has(name));
    for (const name of orphans) await removeTree(join(this.#root, ownDirectories, name));
    return orphans.length;
  }

  #made(mode: DirectoryMode, path: string | undefined): WorkingDirectory {
    if (mode === 'shared') return this.shared;
    const parent = join(this.#root, ownDirectories);
    const own = path ?? join(parent, randomBytes(12).toString('hex'));
    for (const directory of [parent, own]) makeReal(directory);
    return { path: own, mode };
  }

  /** False too if somebody put a symlink in the place of the directory that holds them. */
  async #isReal(): Promise<boolean> {
    const found = await lstat(join(this.#root, ownDirectories)).catch(() => undefined);
    return found?.isDirectory() ?? false;
  }
}

function makeReal(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (lstatSync(directory).isDirectory()) return;
  } catch (error) {
    throw unwritable(directory, error);
  }
  throw new BerthError(
    'volume_unwritable',
    `cannot use ${directory} as a working directory: it is a symlink; remove it`,
  );
}
