/**
 * Reads and adds commits of the checkout of a session, whose files the tools of the session can change as they like.
 * Invariants: git never works with the git directory of the session, but with a private one, which has a configuration
 * of berth, and borrows the objects and the index of the session. So no configuration, hook, filter or monitor that a
 * tool has planted is used. No symlink in the git directory of the session is followed. git looks into no repository
 * inside the checkout.
 */
import { randomBytes } from 'node:crypto';
import { lstat, lutimes, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError } from '../../shared/errors.ts';
import { obstructedParent, readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import { removeTree } from '../../shared/remove-tree.ts';
import type { Git, GitEnd, GitRun } from '../claude/git.ts';
import { type Author, privateFolders } from './checkout.ts';
import { causeIn, failureOf, isNoSpace } from './git-failures.ts';
import { coneOf, writeGitDirectory } from './git-layout.ts';
import {
  assertUsable,
  type Head,
  largestText,
  readHead,
  readOwn,
  refused,
  writeRef,
} from './session-git-directory.ts';

export interface DiffStat {
  files: number;
  insertions: number;
  deletions: number;
}

/** Milliseconds for all that follows a turn. */
export const publishTimeout = 5 * 60_000;
/** In `.git` while git waits for more commands of the session. */
const unfinished = [
  ...['MERGE_HEAD', 'CHERRY_PICK_HEAD', 'REVERT_HEAD'],
  ...['rebase-merge', 'rebase-apply'],
];
const largestIndex = 512 * 1024 * 1024;

export interface SessionCommitsOptions {
  git: Git;
  /** For private git directories. */
  staging: string;
  /** The working directory of the session. */
  directory: string;
  /** The only folder that the checkout has; null: the whole tree. */
  path: string | null;
  signal: AbortSignal;
}

export class SessionCommits {
  readonly #options: SessionCommitsOptions;
  readonly #own: string;
  readonly #private: string;
  /** The ref that HEAD names; undefined if HEAD is detached. */
  readonly #branch: string | undefined;
  /** The id of HEAD. */
  head: string;
  #rebuilt = false;

  private constructor(options: SessionCommitsOptions, scratch: string, head: Head) {
    this.#options = options;
    this.#own = join(options.directory, '.git');
    this.#private = scratch;
    this.#branch = head.branch;
    this.head = head.commit;
  }

  /**
   * Opens the checkout for `work`.
   * @throws BerthError `publish_refused` if the directory is no repository that berth can use; what `work` throws
   */
  static async with<T>(
    options: SessionCommitsOptions,
    work: (commits: SessionCommits) => Promise<T>,
  ): Promise<T> {
    const own = join(options.directory, '.git');
    await assertUsable(own);
    const head = await readHead(own);
    const scratch = join(options.staging, randomBytes(12).toString('hex'));
    try {
      const { path } = options;
      const sparse = { sparseCheckout: true, sparseCheckoutCone: true };
      await writeGitDirectory(scratch, {
        head: head.commit,
        ...(path === null ? {} : { config: { core: sparse } }),
        info: {
          exclude: privateFolders.map((name) => `/${name}/`),
          ...(path === null ? {} : { 'sparse-checkout': coneOf(path) }),
        },
      });
      const shallow = await readOwn(own, 'shallow', largestText);
      if (shallow) await writeFile(join(scratch, 'shallow'), shallow);
      const commits = new SessionCommits(options, scratch, head);
      await commits.#copyIndex();
      return await work(commits);
    } finally {
      await removeTree(scratch).catch(() => undefined);
    }
  }

  /** Runs git in the private directory. */
  run(
    args: readonly string[],
    { environment, ...more }: Pick<GitRun, 'input' | 'encoding' | 'environment'> = {},
  ) {
    const { git, directory, signal } = this.#options;
    return git({
      arguments: args,
      environment: {
        GIT_DIR: this.#private,
        GIT_WORK_TREE: directory,
        GIT_OBJECT_DIRECTORY: join(this.#own, 'objects'),
        ...environment,
      },
      workingDirectory: directory,
      ...more,
      signal,
      timeout: publishTimeout,
    });
  }

  /**
   * Commits all changes of the working directory.
   * @returns whether there were changes
   * @throws BerthError `publish_refused`, `disk_full`
   */
  async commitAll(message: string, { name, email }: Author): Promise<boolean> {
    for (const name of unfinished) {
      const found = await lstat(join(this.#own, name)).catch(() => undefined);
      if (found) throw notFinished(`there is .git/${name}`);
    }
    const unmerged = await this.#indexed(['ls-files', '-z', '--unmerged']);
    if (unmerged.stdout !== '') throw notFinished('files have conflicts');
    await this.#addAll();
    const tree = (await this.#must('write the tree', ['write-tree'])).trim();
    const before = await this.#must('read HEAD', ['rev-parse', `${this.head}^{tree}`]);
    if (before.trim() === tree) return false;
    const person = {
      ...{ GIT_AUTHOR_NAME: name, GIT_AUTHOR_EMAIL: email },
      ...{ GIT_COMMITTER_NAME: name, GIT_COMMITTER_EMAIL: email },
    };
    const args = ['commit-tree', tree, '-p', this.head, '-F', '-'];
    const made = await this.run(args, { input: `${message}\n`, environment: person });
    if (made.code !== 0) throw asRefused(failureOf('commit the changes', made), made);
    await this.#moveHead(made.stdout.trim());
    return true;
  }

  /** The changes from one commit to HEAD, or to the files of the working directory. */
  async diffStat(from: string, to: 'head' | 'files'): Promise<DiffStat> {
    const end = await this.#indexed([
      ...['diff', '--shortstat', '--no-ext-diff', '--no-textconv', '--ignore-submodules=all'],
      ...(to === 'head' ? [from, this.head] : [from]),
    ]);
    const figure = (what: RegExp): number => Number(what.exec(end.stdout)?.[1] ?? 0);
    return {
      files: figure(/(\d+) files? changed/),
      insertions: figure(/(\d+) insertion/),
      deletions: figure(/(\d+) deletion/),
    };
  }

  /** How many commits HEAD has that the other commit does not have. */
  async ahead(of: string): Promise<number> {
    const end = await this.run(['rev-list', '--count', this.head, `^${of}`]);
    return end.code === 0 ? Number(end.stdout.trim()) : 1;
  }

  /** The first line of the message of HEAD. */
  async subject(): Promise<string> {
    const end = await this.run(['log', '-1', '--format=%s', '--no-show-signature', this.head]);
    return end.stdout.trim();
  }

  /** Brings the index to the state of the files, without what is ignored. */
  async #addAll(): Promise<void> {
    const { removed, changed } = await this.#changes();
    // First: a file can have become a directory or a symlink, or the other way round.
    await this.#updateIndex(['--force-remove'], removed);
    await this.#updateIndex(['--add', '--replace', '--remove'], changed);
  }

  /** Names need not be UTF-8: each character is one byte. */
  async #changes(): Promise<{ removed: string[]; changed: string[] }> {
    const compare = [
      'diff-files',
      '-z',
      '--name-status',
      '--no-renames',
      '--ignore-submodules=all',
    ];
    const compared = (await this.#must('compare the files', compare, 'latin1')).split('\0');
    const find = [
      ...['ls-files', '-z', '--others', '--exclude-standard'],
      // A file .gitignore of the repository outranks info/exclude, and no file outranks these.
      ...privateFolders.map((name) => `--exclude=/${name}/`),
    ];
    const names = (await this.#must('list the new files', find, 'latin1')).split('\0');
    const removed: string[] = [];
    for (let at = 0; at + 1 < compared.length; at += 2) {
      const name = compared[at + 1] ?? '';
      if (compared[at] === 'D') removed.push(name);
      else names.push(name);
    }
    const prefix = Buffer.from(`${this.#options.directory}/`);
    const changed: string[] = [];
    for (const name of names) {
      // A directory is a repository of its own: a submodule, or one that a tool has made.
      if (name === '' || name.endsWith('/')) continue;
      const path = Buffer.concat([prefix, Buffer.from(name, 'latin1')]);
      const found = await lstat(path).catch(() => undefined);
      if (!found || found.isFile() || found.isSymbolicLink()) changed.push(name);
    }
    return { removed, changed };
  }

  async #updateIndex(how: readonly string[], names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    const input = names.map((name) => `${name}\0`).join('');
    const args = ['update-index', '-z', ...how, '--stdin'];
    const end = await this.run(args, { input, encoding: 'latin1' });
    if (end.code !== 0) throw asRefused(failureOf('add the changes', end), end);
  }

  /** The index of the session knows which files have changed, so they need not all be read. */
  async #copyIndex(): Promise<void> {
    const original = join(this.#own, 'index');
    const target = join(this.#private, 'index');
    // Before the read: a session may replace its index meanwhile, and a time that is too early does no harm.
    const time = await timeOf(original);
    const own = await readOwn(this.#own, 'index', largestIndex).catch(() => undefined);
    if (own === undefined || time === undefined) return this.#rebuildIndex();
    await writeFile(target, own);
    await setTime(target, time);
  }

  async #rebuildIndex(): Promise<void> {
    this.#rebuilt = true;
    await rm(join(this.#private, 'index'), { force: true });
    await this.#must('read HEAD', ['read-tree', '-m', this.head]);
  }

  /** Runs git with the index; a damaged index is made anew, once. */
  async #indexed(args: readonly string[]): Promise<GitEnd> {
    const end = await this.run(args);
    if (end.code === 0 || this.#rebuilt) return end;
    await this.#rebuildIndex();
    return this.run(args);
  }

  /** The session continues from the new commit. */
  async #moveHead(commit: string): Promise<void> {
    const name = this.#branch ?? 'HEAD';
    const obstacle = await obstructedParent(this.#own, name);
    if (obstacle !== undefined) throw refused(`.git/${obstacle} is no directory`, 'remove it');
    try {
      await writeRef(join(this.#own, name), commit, () => this.#assertUnmoved());
    } catch (error) {
      if (isNoSpace(error) || error instanceof BerthError) throw error;
      throw refused(`.git/${name} cannot be written`, 'remove a lock that a tool has left there');
    }
    this.head = commit;
    const source = join(this.#private, 'index');
    const time = await timeOf(source);
    const index = await readFileBounded(source, largestIndex);
    if (!index) return;
    const target = join(this.#own, 'index');
    await writeFileAtomic(target, index, { mode: 0o600 });
    if (time !== undefined) await setTime(target, time).catch(() => undefined);
  }

  /** Work in the background of the session may commit at any time. @throws BerthError */
  async #assertUnmoved(): Promise<void> {
    const { branch, commit } = await readHead(this.#own);
    if (branch === this.#branch && commit === this.head) return;
    throw new BerthError(
      'publish_failed',
      'cannot commit the changes: the session itself has committed meanwhile; publish again',
    );
  }

  async #must(what: string, args: readonly string[], encoding?: 'latin1'): Promise<string> {
    const end = await this.run(args, encoding ? { encoding } : {});
    if (end.code === 0) return end.stdout;
    throw asRefused(failureOf(what, end), end);
  }
}

/** When the file was written: seconds since 1970, in whole milliseconds. */
async function timeOf(path: string): Promise<number | undefined> {
  const found = await lstat(path).catch(() => undefined);
  return found && Math.floor(found.mtimeMs) / 1_000;
}

/**
 * Gives a copy of an index the time of the original: a file that was written at that time may have changed since without
 * a trace, so git compares its content.
 */
function setTime(path: string, time: number): Promise<void> {
  return lutimes(path, time, time);
}

function notFinished(cause: string): BerthError {
  return refused(
    `a merge or a rebase is not finished (${cause})`,
    'let the session finish or abort it',
  );
}

/** A full disk is a passing failure; anything else comes from the state of the checkout. */
function asRefused(failure: BerthError, end: GitEnd): BerthError {
  if (failure.code === 'disk_full') return new BerthError('publish_failed', failure.message);
  return refused(causeIn(end), 'see what the session has done to its repository');
}
