/**
 * One bare mirror of a repository, while one piece of work has it: fetches what the mirror lacks, and keeps it small.
 * Invariants: a fetch is bounded in time and bytes. A mirror whose first fetch has failed is removed. If git cannot use
 * what lies there, the error is `DamagedMirror`.
 */
import { lstat, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError, messageOf } from '../../shared/errors.ts';
import { removeTree, sizeOfTree } from '../../shared/remove-tree.ts';
import { formatSize } from '../../shared/units.ts';
import type { Git, GitEnd, GitRun } from '../claude/git.ts';
import type { GatewayClient } from './gateway-client.ts';
import { failureOf, isFromOutside, isNoSpace } from './git-failures.ts';
import {
  boundariesOf,
  forgetDepths,
  type History,
  hasRef,
  historyOf,
  linkObjects,
  noteHistory,
  prepareMirror,
  refOf,
} from './mirror-directory.ts';

export interface MirrorRequest {
  repo: string;
  /** Ids of commits that must be there. */
  commits: readonly string[];
  depth: number | undefined;
  signal: AbortSignal;
}

export interface MirrorOptions {
  directory: string;
  request: MirrorRequest;
  git: Git;
  gateway: GatewayClient;
  /** The maximum bytes. */
  mostBytes: number;
  /** Milliseconds of one fetch. */
  timeout: number;
  /** Called and awaited after each fetch, also one that failed. */
  onFetched: () => Promise<void>;
  /** Called and awaited when the mirror has more bytes than it may have. */
  onTooLarge: () => Promise<void>;
}

/** More packs than that make git slow: they become one. */
const mostPacks = 20;
/** Refs that keep fetched commits; the oldest go. */
const mostRefs = 200;
/** Milliseconds between two checks of the size of a mirror that grows. */
const sizeInterval = 500;

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

export class Mirror {
  readonly #options: MirrorOptions;

  constructor(options: MirrorOptions) {
    this.#options = options;
  }

  /**
   * Prepares the directory and fetches what it lacks.
   * @returns whether something was fetched
   * @throws BerthError `disk_full`, `volume_unwritable`, `workspace_*`; DamagedMirror
   */
  async bring(): Promise<boolean> {
    const { directory, request, onFetched } = this.#options;
    await prepareMirror(directory).catch((error: unknown) => {
      throw unusable(directory, error);
    });
    const { repo, commits, depth } = request;
    const history = await historyOf(directory);
    const lacking: string[] = [];
    for (const commit of new Set(commits)) {
      const enough = isEnough(history, commit, depth);
      if (!enough || !(await hasRef(directory, commit))) lacking.push(commit);
    }
    // A fetch with a depth can cut off the history of the commits that it does not fetch.
    const wanted = history === 'whole' || lacking.length === 0 ? lacking : [...new Set(commits)];
    if (wanted.length === 0) return false;
    const all = history === undefined || history === 'whole' ? [] : ['--unshallow'];
    // A mirror that has the whole history keeps it.
    const flags = depth === undefined ? all : history === 'whole' ? [] : [`--depth=${depth}`];
    const boundaries = await boundariesOf(directory);
    try {
      if (history instanceof Map) await this.#forgetDepths();
      let fetched = wanted;
      let end = await this.#fetch(flags, fetched);
      if (isRefused(end) && lacking.length < wanted.length) {
        // The server no longer gives a commit that is here already.
        fetched = lacking;
        end = await this.#fetch(flags, fetched);
      }
      if (end.code !== 0) {
        const failure = failureOf(`fetch ${repo}`, end);
        if (history === undefined || isFromOutside(end)) throw failure;
        throw new DamagedMirror(failure);
      }
      await noteHistory(directory, history, fetched, depth, boundaries).catch((error: unknown) => {
        throw unusable(directory, error);
      });
      await this.#tidy();
    } catch (error) {
      // A mirror without a whole fetch has nothing that the next fetch could use.
      if (history === undefined) await removeTree(directory).catch(() => undefined);
      throw error;
    } finally {
      await onFetched();
    }
    return true;
  }

  /** Runs git in the mirror. */
  git(args: readonly string[], more: Partial<GitRun> = {}): Promise<GitEnd> {
    const { git, directory, request } = this.#options;
    return git({
      arguments: args,
      environment: { GIT_DIR: directory },
      workingDirectory: directory,
      // A pack can be linked into a session; loose objects would be many.
      config: { 'fetch.unpackLimit': '1' },
      signal: request.signal,
      ...more,
    });
  }

  /** Fetches more of the history of a shallow mirror. @returns false if there is no more */
  async deepen(): Promise<boolean> {
    const { directory, request, onFetched } = this.#options;
    const history = await historyOf(directory);
    if (history === 'whole' || history === undefined) return false;
    const boundaries = await boundariesOf(directory);
    await this.#forgetDepths();
    const end = await this.#fetch(['--deepen=500'], request.commits).finally(onFetched);
    if (end.code !== 0) throw failureOf(`fetch more of the history of ${request.repo}`, end);
    await noteHistory(directory, history, request.commits, undefined, boundaries);
    return true;
  }

  async #forgetDepths(): Promise<void> {
    const { directory } = this.#options;
    await forgetDepths(directory).catch((error: unknown) => {
      throw unusable(directory, error);
    });
  }

  /** Puts the objects into a new git directory. */
  linkInto(gitDirectory: string): Promise<void> {
    return linkObjects(this.#options.directory, gitDirectory);
  }

  /** Ends the fetch when the mirror is larger than it may be. */
  async #fetch(flags: readonly string[], commits: readonly string[]): Promise<GitEnd> {
    const { request, directory, gateway, timeout, mostBytes, onTooLarge } = this.#options;
    const { signal, repo } = request;
    const refspecs = commits.map((id) => `+${id}:${refOf(id)}`);
    const args = [...fetching, ...flags, gateway.repositoryUrl(repo), ...refspecs];
    const tooLarge = new AbortController();
    const isTooLarge = async (): Promise<boolean> => (await bytesOf(directory)) > mostBytes;
    const watch = setInterval(async () => {
      if (await isTooLarge()) tooLarge.abort();
    }, sizeInterval);
    try {
      const signals = AbortSignal.any([signal, tooLarge.signal]);
      const end = await this.git(args, { timeout, signal: signals });
      if (!(await isTooLarge())) return end;
    } catch (error) {
      if (!tooLarge.signal.aborted) throw error;
    } finally {
      clearInterval(watch);
    }
    await onTooLarge();
    throw new BerthError(
      'workspace_too_large',
      `cannot fetch ${repo}: it has more than ${formatSize(mostBytes)}; send a smaller "depth", or raise BERTH_MIRRORS_SIZE`,
    );
  }

  /** Keeps the number of packs and refs small; a failure is not that of the fetch. */
  async #tidy(): Promise<void> {
    const { directory, timeout } = this.#options;
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
    await this.git(['repack', '-a', '-d', '-q', '--threads=1'], { timeout });
  }
}

/** Whether the mirror has as much of the history of that commit, if it has the commit. */
function isEnough(
  history: History | undefined,
  commit: string,
  depth: number | undefined,
): boolean {
  if (history === undefined || history === 'whole') return history === 'whole';
  return depth !== undefined && (history.get(commit) ?? 1) >= depth;
}

/** The bytes of a mirror. Checkouts have links to its packs; without them, the mirror has its packs for itself. */
export function bytesOf(directory: string): Promise<number> {
  return sizeOfTree(directory, undefined, 'whole');
}

/** Whether the server does not give one of the commits. */
function isRefused({ code, stderr }: GitEnd): boolean {
  return code !== 0 && /not our ref/i.test(stderr);
}

function unusable(directory: string, error: unknown): BerthError {
  const code = isNoSpace(error) ? 'disk_full' : 'volume_unwritable';
  const text = `cannot keep a mirror in ${directory}: ${messageOf(error)}; check its owner and its space, or remove it`;
  return new BerthError(code, text, { cause: error });
}
