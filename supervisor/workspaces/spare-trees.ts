/**
 * Keeps the files of a repository checked out for the next session that begins with it: git needs seconds to write
 * 20,000 files, and a rename of their folders needs milliseconds.
 * Invariants: a tree is given to one session. Only its files are taken: the session has a `.git` of its own, git compares
 * each file with an index that nobody has changed, and a file that is not in the commit is removed. One tree is made at a
 * time, after a session has got its own files. While the disk is low none is made, and those that exist go. A failure
 * costs time only.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { digestOf } from '../../shared/digest.ts';
import { messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { removeTree } from '../../shared/remove-tree.ts';
import { SerialQueue } from '../../shared/serial-queue.ts';
import type { Git } from '../claude/git.ts';
import { fillDirectory, type StagedCheckout } from './checkout.ts';
import type { SpareTree } from './move-tree.ts';
import type { WorkspaceRequest } from './workspace-request.ts';

export interface SpareTreesOptions {
  git: Git;
  /** The maximum number of trees, each of another repository or folder; 0 for none. */
  most: number;
  /** Whether the disk has room for files that nobody needs yet. */
  hasRoom: () => boolean;
  log: Log;
}

type Place = Pick<WorkspaceRequest, 'repo' | 'path'>;

export class SpareTrees {
  readonly #options: SpareTreesOptions;
  /** By repository and folder; the least recently made is the first. */
  readonly #trees = new Map<string, SpareTree>();
  /** The places that were used last, as many as there may be trees. */
  readonly #wanted: LRUCache<string, true>;
  readonly #work = new SerialQueue();
  readonly #stopping = new AbortController();

  constructor(options: SpareTreesOptions) {
    this.#options = options;
    this.#wanted = new LRUCache({ max: Math.max(1, options.most) });
  }

  /** The number of trees that are ready. */
  get count(): number {
    return this.#trees.size;
  }

  take(place: Place): SpareTree | undefined {
    const key = keyOf(place);
    const tree = this.#trees.get(key);
    this.#trees.delete(key);
    return tree;
  }

  /** Makes a tree if there is none of that place; never rejects. @param stage makes its git directory */
  prepare(place: Place, stage: (signal: AbortSignal) => Promise<StagedCheckout>): Promise<void> {
    const { most, log } = this.#options;
    if (most === 0) return Promise.resolve();
    const key = keyOf(place);
    this.#wanted.set(key, true);
    return this.#work
      .add(() => this.#make(key, stage))
      .catch((error: unknown) => {
        if (this.#stopping.signal.aborted) return;
        const text = `the files of ${place.repo} are not ready for the next session: ${messageOf(error)}`;
        log.warn('workspace_failed', text, { repository: place.repo });
      });
  }

  /** Removes all trees, after the one that is being made; never rejects. Call it when the disk is low. */
  makeRoom(): Promise<void> {
    return this.#work.add(() => this.#keep(0)).catch(() => undefined);
  }

  /** Resolves when nothing more is made. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#work.idle();
  }

  /** With one CPU at most, after all others. */
  readonly #git: Git = (run) =>
    this.#options.git({
      ...run,
      background: true,
      config: { ...run.config, 'checkout.workers': '1' },
    });

  async #make(key: string, stage: (signal: AbortSignal) => Promise<StagedCheckout>): Promise<void> {
    const { most, hasRoom } = this.#options;
    const { signal } = this.#stopping;
    if (!hasRoom()) return this.#keep(0);
    if (signal.aborted || this.#trees.has(key) || !this.#wanted.has(key)) return;
    const staged = await stage(signal);
    const directory = `${staged.path}.tree`;
    try {
      await mkdir(directory, { mode: 0o700 });
      await fillDirectory(this.#git, directory, staged, signal);
      const index = await readFile(join(directory, '.git/index'));
      this.#trees.set(key, { directory, commit: staged.commit, digest: digestOf(index) });
    } catch (error) {
      for (const path of [staged.path, directory]) await removeTree(path).catch(() => undefined);
      throw error;
    }
    await this.#keep(most);
  }

  /** Removes all trees but the latest ones. */
  async #keep(most: number): Promise<void> {
    const surplus = [...this.#trees].slice(0, Math.max(0, this.#trees.size - most));
    for (const [key, { directory }] of surplus) {
      this.#trees.delete(key);
      await removeTree(directory);
    }
  }
}

function keyOf({ repo, path = '' }: Place): string {
  return JSON.stringify([repo, path]);
}
