/**
 * The bare mirrors of repositories on the disk of the workspaces: a second checkout of a repository fetches only what is
 * new, and its `.git` has hard links to the packs of the mirror.
 * Invariants: one piece of work at a time on one mirror. A `.git` that was made from a mirror does not need the mirror
 * any more. Nothing that lies in a mirror is trusted but its objects: its configuration is written anew before each
 * use, and hooks and leftovers of a killed git are removed. A damaged mirror is removed and made again, once. Number
 * and bytes of the mirrors are bounded, and the least recently used one goes.
 */
import { createHash } from 'node:crypto';
import { lstat, readdir, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../../shared/log.ts';
import { removeTree } from '../../shared/remove-tree.ts';
import { SerialQueue } from '../../shared/serial-queue.ts';
import { abortable } from '../../shared/waiting.ts';
import type { Git, GitEnd } from '../claude/git.ts';
import type { GatewayClient } from './gateway-client.ts';
import { bytesOf, DamagedMirror, Mirror, type MirrorRequest } from './mirror.ts';
import { removeHalfPacks } from './mirror-directory.ts';

export interface MirrorsOptions {
  /** Contains the mirrors; nothing else is in it. */
  root: string;
  git: Git;
  gateway: GatewayClient;
  /** The maximum number of mirrors. */
  most: number;
  /** The maximum bytes of all mirrors, and of one. */
  mostBytes: number;
  /** Milliseconds of one fetch. */
  timeout: number;
  log: Log;
  onRemoved?: (reason: MirrorRemoval) => void;
}

export const mirrorRemovals = ['bound', 'damaged'] as const;
/** `bound`: another repository needed the room; `damaged`: git could not use the mirror. */
export type MirrorRemoval = (typeof mirrorRemovals)[number];

/** What `use` offers while no other work runs on the mirror. */
export interface OpenMirror {
  /** Whether something was fetched. */
  fetched: boolean;
  /** Runs git in the mirror. */
  git: (args: readonly string[]) => Promise<GitEnd>;
  /** Fetches more of the history of a shallow mirror. @returns false if there is no more */
  deepen: () => Promise<boolean>;
  /** Puts the objects into a new git directory. */
  linkInto: (gitDirectory: string) => Promise<void>;
}

const ownName = /^[0-9a-f]{24}\.git$/;

export class Mirrors {
  readonly #options: MirrorsOptions;
  readonly #queues = new Map<string, SerialQueue>();
  /** Mirrors are removed for their bounds by one at a time. */
  readonly #bounds = new SerialQueue();
  /** Names of mirrors with work that runs or waits. */
  readonly #inUse = new Map<string, number>();
  /** Bytes by name, as last measured. */
  readonly #sizes = new Map<string, number>();

  constructor(options: MirrorsOptions) {
    this.#options = options;
  }

  /** The number of mirrors and their bytes, as last measured. */
  get usage(): { count: number; bytes: number } {
    const bytes = [...this.#sizes.values()].reduce((sum, each) => sum + each, 0);
    return { count: this.#sizes.size, bytes };
  }

  /** Measures the mirrors that an earlier run has left; never rejects. */
  async open(): Promise<void> {
    for (const name of await this.#names()) {
      const bytes = await bytesOf(join(this.#options.root, name)).catch(() => undefined);
      if (bytes !== undefined) this.#sizes.set(name, bytes);
    }
    await this.#keepBounds();
  }

  /**
   * Brings the commits into the mirror of the repository and calls `work`.
   * @throws BerthError `workspace_*`, `disk_full`, `volume_unwritable`; what `work` throws
   */
  async use<T>(request: MirrorRequest, work: (mirror: OpenMirror) => Promise<T>): Promise<T> {
    const name = nameOf(request.repo);
    const done = this.#alone(name, async () => {
      request.signal.throwIfAborted();
      try {
        return await this.#work(name, request, work);
      } catch (error) {
        if (!(error instanceof DamagedMirror)) throw error;
        await this.#remove(name, 'damaged', request.repo, error.message);
        return await this.#work(name, request, work);
      }
    });
    // The mirror is in use until the work has ended, also for a caller that no longer waits.
    const over = done.then(
      () => this.#keepBounds(),
      () => this.#keepBounds(),
    );
    try {
      const result = await abortable(done, request.signal);
      await over;
      return result;
    } catch (error) {
      throw error instanceof DamagedMirror ? error.failure : error;
    }
  }

  /** Runs the work when no other work runs on the mirror. */
  #alone<T>(name: string, work: () => Promise<T>): Promise<T> {
    const queue = this.#queues.get(name) ?? new SerialQueue();
    this.#queues.set(name, queue);
    this.#inUse.set(name, (this.#inUse.get(name) ?? 0) + 1);
    return queue.add(work).finally(() => {
      const users = (this.#inUse.get(name) ?? 1) - 1;
      if (users > 0) this.#inUse.set(name, users);
      else {
        this.#inUse.delete(name);
        this.#queues.delete(name);
      }
    });
  }

  /** Removes the mirror, whose objects have shown a damage that no fetch has noticed; never rejects. */
  async discard(repo: string, why: string): Promise<void> {
    const name = nameOf(repo);
    await this.#alone(name, () => this.#remove(name, 'damaged', repo, why));
  }

  async #work<T>(
    name: string,
    request: MirrorRequest,
    work: (mirror: OpenMirror) => Promise<T>,
  ): Promise<T> {
    const { root, git, gateway, mostBytes, timeout } = this.#options;
    const directory = join(root, name);
    const mirror = new Mirror({
      ...{ directory, request, git, gateway, mostBytes, timeout },
      onFetched: () => this.#measure(name),
      onTooLarge: () => this.#remove(name, 'bound', request.repo, 'it is too large'),
    });
    const fetched = await mirror.bring();
    const now = new Date();
    await utimes(directory, now, now).catch(() => undefined);
    return work({
      fetched,
      git: (args) => mirror.git(args),
      deepen: () => mirror.deepen(),
      linkInto: (target) => mirror.linkInto(target),
    });
  }

  /** Without the half of a pack that a failed fetch has left; never rejects. */
  async #measure(name: string): Promise<void> {
    const directory = join(this.#options.root, name);
    await removeHalfPacks(directory).catch(() => undefined);
    const bytes = await bytesOf(directory);
    if (bytes > 0) this.#sizes.set(name, bytes);
    else this.#sizes.delete(name);
  }

  /** Never rejects. */
  #keepBounds(): Promise<void> {
    return this.#bounds.add(() => this.#removeSurplus()).catch(() => undefined);
  }

  async #removeSurplus(): Promise<void> {
    const { root, most, mostBytes } = this.#options;
    const { count, bytes } = this.usage;
    if (count <= most && bytes <= mostBytes) return;
    const dated: { name: string; at: number }[] = [];
    for (const name of await this.#names()) {
      const found = await lstat(join(root, name)).catch(() => undefined);
      dated.push({ name, at: found?.mtimeMs ?? 0 });
    }
    dated.sort((one, other) => one.at - other.at);
    for (const { name } of dated) {
      const now = this.usage;
      if (now.count <= most && now.bytes <= mostBytes) return;
      if (this.#inUse.has(name)) continue;
      const why = 'another repository needs the room';
      await this.#alone(name, () => this.#remove(name, 'bound', undefined, why));
    }
  }

  async #remove(
    name: string,
    reason: MirrorRemoval,
    repository: string | undefined,
    why: string,
  ): Promise<void> {
    const { root, log, onRemoved } = this.#options;
    try {
      await removeTree(join(root, name));
      this.#sizes.delete(name);
      onRemoved?.(reason);
      log.info('mirror_removed', `removed a mirror: ${why.slice(0, 300)}`, {
        ...(repository === undefined ? {} : { repository }),
        reason,
      });
    } catch (error) {
      log.warn('mirror_removed', 'cannot remove a mirror', { reason, error });
    }
  }

  async #names(): Promise<string[]> {
    const found = await readdir(this.#options.root).catch(() => []);
    return found.filter((name) => ownName.test(name));
  }
}

function nameOf(repo: string): string {
  return `${createHash('sha256').update(repo).digest('hex').slice(0, 24)}.git`;
}
