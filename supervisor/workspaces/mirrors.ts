/**
 * The bare mirrors of repositories on the disk of the workspaces: a second checkout of a repository fetches only what is
 * new, and its `.git` has hard links to the packs of the mirror.
 * Invariants: one piece of work at a time on one mirror. A `.git` that was made from a mirror does not need the mirror
 * any more. Nothing that lies in a mirror is trusted but its objects: its configuration is written anew before each
 * use, and hooks and leftovers of a killed git are removed. A damaged mirror is removed and made again, once. Number
 * and bytes of the mirrors are bounded, and the least recently used one goes.
 */
import { createHash } from 'node:crypto';
import { lstat, readdir, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError, messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { removeTree, sizeOfTree } from '../../shared/remove-tree.ts';
import { SerialQueue } from '../../shared/serial-queue.ts';
import { formatSize } from '../../shared/units.ts';
import { abortable } from '../../shared/waiting.ts';
import type { Git, GitEnd, GitRun } from '../claude/git.ts';
import type { GatewayClient } from './gateway-client.ts';
import { failureOf, isFromOutside, isNoSpace } from './git-failures.ts';
import {
  hasRef,
  historyOf,
  linkObjects,
  noteHistory,
  prepareMirror,
  refOf,
  removeHalfPacks,
} from './mirror-directory.ts';

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

export interface MirrorRequest {
  repo: string;
  /** Ids of commits that must be there. */
  commits: readonly string[];
  depth: number | undefined;
  signal: AbortSignal;
}

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

/** Checkouts have links to the packs of a mirror; without them, the mirror has its packs for itself. */
function bytesOf(directory: string): Promise<number> {
  return sizeOfTree(directory, undefined, 'whole');
}

/** A mirror, while one piece of work has it. */
interface Mirror {
  name: string;
  directory: string;
  request: MirrorRequest;
}

const ownName = /^[0-9a-f]{24}\.git$/;
/** More packs than that make git slow: they become one. */
const mostPacks = 20;
/** Refs that keep fetched commits; the oldest go. */
const mostRefs = 200;
/** Milliseconds between two looks at the size of a mirror that grows. */
const sizeInterval = 500;

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
    const directory = join(this.#options.root, name);
    await prepareMirror(directory).catch((error: unknown) => {
      throw unusable(directory, error);
    });
    const mirror = { name, directory, request };
    const fetched = await this.#bring(mirror);
    const now = new Date();
    await utimes(directory, now, now).catch(() => undefined);
    return work({
      fetched,
      git: (args) => this.#git(mirror, args),
      deepen: () => this.#deepen(mirror),
      linkInto: (target) => linkObjects(directory, target),
    });
  }

  #git({ directory, request }: Mirror, args: readonly string[], more: Partial<GitRun> = {}) {
    return this.#options.git({
      arguments: args,
      environment: { GIT_DIR: directory },
      workingDirectory: directory,
      // A pack can be linked into a session; loose objects would be many.
      config: { 'fetch.unpackLimit': '1' },
      signal: request.signal,
      ...more,
    });
  }

  /** Fetches what the mirror lacks. @returns whether something was fetched */
  async #bring(mirror: Mirror): Promise<boolean> {
    const { directory, name } = mirror;
    const { repo, commits, depth } = mirror.request;
    const history = await historyOf(directory);
    const enough = history === 'whole' || (depth !== undefined && (history ?? 0) >= depth);
    const wanted: string[] = [];
    for (const commit of new Set(commits)) {
      if (!enough || !(await hasRef(directory, commit))) wanted.push(commit);
    }
    if (wanted.length === 0) return false;
    const all = history === undefined || history === 'whole' ? [] : ['--unshallow'];
    // A mirror that has the whole history keeps it.
    const flags = depth === undefined ? all : history === 'whole' ? [] : [`--depth=${depth}`];
    try {
      const end = await this.#bounded(mirror, [...flags, this.#urlOf(repo), ...refspecsOf(wanted)]);
      if (end.code !== 0) {
        const failure = failureOf(`fetch ${repo}`, end);
        if (history === undefined || isFromOutside(end)) throw failure;
        throw new DamagedMirror(failure);
      }
      await noteHistory(directory, depth).catch((error: unknown) => {
        throw unusable(directory, error);
      });
      await this.#tidy(mirror);
    } catch (error) {
      // A mirror without a whole fetch has nothing that the next fetch could use.
      if (history === undefined) await removeTree(directory).catch(() => undefined);
      throw error;
    } finally {
      await this.#measure(name);
    }
    return true;
  }

  /** Without the half of a pack that a failed fetch has left; never rejects. */
  async #measure(name: string): Promise<void> {
    const directory = join(this.#options.root, name);
    await removeHalfPacks(directory).catch(() => undefined);
    const bytes = await bytesOf(directory);
    if (bytes > 0) this.#sizes.set(name, bytes);
    else this.#sizes.delete(name);
  }

  /** Fetches, and ends the fetch when the mirror is larger than all mirrors may be. */
  async #bounded(mirror: Mirror, args: readonly string[]): Promise<GitEnd> {
    const { timeout, mostBytes } = this.#options;
    const { signal, repo } = mirror.request;
    const tooLarge = new AbortController();
    const isTooLarge = async (): Promise<boolean> => (await bytesOf(mirror.directory)) > mostBytes;
    const watch = setInterval(async () => {
      if (await isTooLarge()) tooLarge.abort();
    }, sizeInterval);
    try {
      const signals = AbortSignal.any([signal, tooLarge.signal]);
      const end = await this.#git(mirror, [...fetching, ...args], { timeout, signal: signals });
      if (!(await isTooLarge())) return end;
    } catch (error) {
      if (!tooLarge.signal.aborted) throw error;
    } finally {
      clearInterval(watch);
    }
    await this.#remove(mirror.name, 'bound', repo, 'it is too large');
    throw new BerthError(
      'workspace_too_large',
      `cannot fetch ${repo}: it has more than ${formatSize(mostBytes)}; send a smaller "depth", or raise BERTH_MIRRORS_SIZE`,
    );
  }

  async #deepen(mirror: Mirror): Promise<boolean> {
    const { repo, commits } = mirror.request;
    const history = await historyOf(mirror.directory);
    if (history === 'whole' || history === undefined) return false;
    const args = ['--deepen=500', this.#urlOf(repo), ...refspecsOf(commits)];
    const end = await this.#bounded(mirror, args).finally(() => this.#measure(mirror.name));
    if (end.code !== 0) throw failureOf(`fetch more of the history of ${repo}`, end);
    await noteHistory(mirror.directory, history + 500);
    return true;
  }

  /** Keeps the number of packs and refs small; a failure is not that of the fetch. */
  async #tidy(mirror: Mirror): Promise<void> {
    const { directory } = mirror;
    const refs = join(directory, 'refs/berth');
    const names = await readdir(refs).catch(() => []);
    if (names.length > mostRefs) {
      const dated = await Promise.all(
        names.map(async (name) => ({ name, at: (await lstat(join(refs, name))).mtimeMs })),
      );
      dated.sort((one, other) => one.at - other.at);
      for (const { name } of dated.slice(0, names.length - mostRefs)) await rm(join(refs, name));
    }
    const files = await readdir(join(directory, 'objects/pack')).catch(() => []);
    if (files.filter((file) => file.endsWith('.pack')).length <= mostPacks) return;
    const { timeout } = this.#options;
    await this.#git(mirror, ['repack', '-a', '-d', '-q', '--threads=1'], { timeout });
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

  #urlOf(repo: string): string {
    return this.#options.gateway.repositoryUrl(repo);
  }
}

const fetching = [
  ...['fetch', '--quiet', '--no-tags', '--no-write-fetch-head', '--no-auto-maintenance'],
  '--no-recurse-submodules',
];

/** Throw it in the work on a mirror whose objects git cannot read: the mirror is made again, and the work runs once more. */
export class DamagedMirror extends Error {
  readonly failure: BerthError;

  constructor(failure: BerthError) {
    super(failure.message);
    this.failure = failure;
  }
}

function refspecsOf(commits: readonly string[]): string[] {
  return commits.map((id) => `+${id}:${refOf(id)}`);
}

function nameOf(repo: string): string {
  return `${createHash('sha256').update(repo).digest('hex').slice(0, 24)}.git`;
}

function unusable(directory: string, error: unknown): BerthError {
  const code = isNoSpace(error) ? 'disk_full' : 'volume_unwritable';
  const text = `cannot keep a mirror in ${directory}: ${messageOf(error)}; check its owner and its space, or remove it`;
  return new BerthError(code, text, { cause: error });
}
