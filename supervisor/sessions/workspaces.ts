/**
 * The working directories below BERTH_WORKSPACE_DIR: a shared directory, or an own directory for a
 * session.
 * Invariants: an own directory has an unguessable name below `sessions/`, is closed to other users,
 * and exists before its process starts. It is removed with its session, or with a worker that never
 * served a session. From a record only the last name of a path is used, and only if berth could
 * have created it. No symlink is followed, and directories that berth did not name are not touched.
 */
import { randomBytes } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { lstat, readdir, rmdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { BerthError, isAbsent, systemCode } from '../../shared/errors.ts';
import { makeDirectoriesSync, unwritable } from '../../shared/files.ts';
import { removeTree } from '../../shared/remove-tree.ts';

export type DirectoryMode = 'shared' | 'session';

export interface WorkingDirectory {
  /** Absolute. */
  path: string;
  mode: DirectoryMode;
}

/** Contains the own directories of sessions. */
const ownDirectories = 'sessions';

const ownName = /^[0-9a-f]{24}$/;

export class Workspaces {
  readonly #root: string;
  /** By the name of the worker; `bound` when the directory belongs to a session. */
  readonly #ofWorkers = new Map<string, { directory: WorkingDirectory; bound: boolean }>();

  /** @param root BERTH_WORKSPACE_DIR */
  constructor(root: string) {
    this.#root = root;
  }

  get shared(): WorkingDirectory {
    return { path: this.#root, mode: 'shared' };
  }

  /** The path of a session's directory, whatever root it was created under. */
  pathOf({ path, mode }: WorkingDirectory): string | undefined {
    if (mode === 'shared') return this.#root;
    const name = basename(path);
    return ownName.test(name) ? join(this.#root, ownDirectories, name) : undefined;
  }

  /**
   * Returns the directory for a worker that is about to start, and creates it if absent.
   * Synchronous, like the start of a process.
   * @param recorded the directory in the record of the session to resume; it may be gone with its
   * volume
   * @throws BerthError `volume_unwritable`
   */
  make(worker: string, mode: DirectoryMode, recorded?: WorkingDirectory): WorkingDirectory {
    const path = recorded && this.pathOf(recorded);
    const directory = this.#made(path === undefined ? mode : (recorded?.mode ?? mode), path);
    this.#ofWorkers.set(worker, { directory, bound: path !== undefined });
    return directory;
  }

  /** The worker's directory. @throws BerthError `cli_unavailable` if the worker has ended */
  directoryOf(worker: string): WorkingDirectory {
    const found = this.#ofWorkers.get(worker);
    if (found) return found.directory;
    throw new BerthError(
      'cli_unavailable',
      `cannot use the directory of ${worker}: its process has ended; try again`,
    );
  }

  /** The worker's directory belongs to the session of the worker from now on. */
  bind(worker: string): void {
    const found = this.#ofWorkers.get(worker);
    if (found) found.bound = true;
  }

  /** Called when the worker and all its processes have ended; never rejects. */
  async ended(worker: string): Promise<void> {
    const found = this.#ofWorkers.get(worker);
    this.#ofWorkers.delete(worker);
    // The next start removes it.
    if (found && !found.bound) await this.remove(found.directory).catch(() => undefined);
  }

  /**
   * Removes a session's own directory with its content; a shared directory stays.
   * @throws Error of the system if a part cannot be removed
   */
  async remove(directory: WorkingDirectory): Promise<void> {
    const path = directory.mode === 'session' ? this.pathOf(directory) : undefined;
    if (path !== undefined && (await this.#isReal())) await removeTree(path);
  }

  /** The names of all own directories. */
  async names(): Promise<string[]> {
    if (!(await this.#isReal())) return [];
    const found = await readdir(join(this.#root, ownDirectories));
    return found.filter((name) => ownName.test(name));
  }

  /**
   * Removes the directories that no session names: leftovers of killed supervisors.
   * @param found the directories before this program's first worker: later ones may have no record
   * yet
   * @param known the directories of all sessions; undefined if the records are lost: then only empty
   * directories are removed
   * @returns the number of removed directories
   */
  async sweep(
    found: readonly string[],
    known: readonly WorkingDirectory[] | undefined,
  ): Promise<number> {
    if (!(await this.#isReal())) return 0;
    const used = [...this.#ofWorkers.values()].map(({ directory }) => directory);
    const names = new Set([...(known ?? []), ...used].map(({ path }) => basename(path)));
    const orphans = found.filter((name) => ownName.test(name) && !names.has(name));
    let removed = 0;
    for (const name of orphans) {
      const path = join(this.#root, ownDirectories, name);
      if (known) await removeTree(path);
      else if (!(await removeEmpty(path))) continue;
      removed += 1;
    }
    return removed;
  }

  #made(mode: DirectoryMode, path: string | undefined): WorkingDirectory {
    if (mode === 'shared') return this.shared;
    const parent = join(this.#root, ownDirectories);
    const own = path ?? join(parent, randomBytes(12).toString('hex'));
    for (const directory of [parent, own]) makeReal(directory);
    return { path: own, mode };
  }

  /**
   * Also false if the directory that contains them was replaced by a symlink.
   * @throws Error of the system if that cannot be known
   */
  async #isReal(): Promise<boolean> {
    const found = await lstat(join(this.#root, ownDirectories)).catch((error: unknown) => {
      if (isAbsent(error)) return undefined;
      throw error;
    });
    return found?.isDirectory() ?? false;
  }
}

/** @returns whether the directory was empty, and is removed now */
async function removeEmpty(directory: string): Promise<boolean> {
  try {
    await rmdir(directory);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOTEMPTY' || systemCode(error) === 'ENOTDIR') return false;
    throw error;
  }
}

function makeReal(directory: string): void {
  try {
    makeDirectoriesSync(directory, 0o700);
    if (lstatSync(directory).isDirectory()) return;
  } catch (error) {
    throw unwritable(directory, error);
  }
  throw new BerthError(
    'volume_unwritable',
    `cannot use ${directory} as a working directory: it is a symlink; remove it`,
  );
}
