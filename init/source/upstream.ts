/**
 * Reads the tree and the blobs of the wanted commit from the git directory, and fetches what is missing.
 * Invariants: a failure that comes neither from the network nor from the server means that the git
 * directory is damaged. Then it is set aside and everything is fetched again, once. A full disk fails at once.
 */
import { BerthError, messageOf, systemCode } from '../../shared/errors.ts';
import { unwritable } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import type { GitDirectory } from '../git/git-directory.ts';
import type { Remote, Target } from '../git/remote.ts';
import { type Commit, proves, readTree, type Tree, type TreeEntry } from '../git/tree.ts';
import type { TreeRecord } from '../volume/record.ts';

export interface UpstreamOptions {
  directory: GitDirectory;
  /** Undefined if only earlier fetches can be used. */
  remote: Remote | undefined;
  /** Moves the git directory to quarantine. */
  setAside: () => Promise<void>;
  log: Log;
}

const outOfSpace = ['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM'];

export class Upstream {
  #options: UpstreamOptions;
  #opened: Promise<void> | undefined;
  #repair: Promise<void> | undefined;

  constructor(options: UpstreamOptions) {
    this.#options = options;
  }

  /**
   * The commit of the target. Its tree is not read if `record` proves to hold the same tree.
   * @throws BerthError
   */
  async commit(target: Target, record: TreeRecord | undefined): Promise<Commit> {
    const recorded = record?.commit === target.commit ? proven(record) : undefined;
    if (recorded) return recorded;
    return this.#repaired(target, async () => {
      const { directory, remote } = this.#options;
      await this.#open();
      let id = target.commit;
      if (remote && (await directory.fetched()) !== id) id = await remote.fetch(target, directory);
      const { content: text } = await directory.read(id);
      const tree = await readTree(text, (oid) => directory.read(oid));
      directory.assertFits(tree);
      return { id, text, tree };
    });
  }

  /** The content of a blob of `commit`. @throws BerthError */
  async blob(oid: string, commit: string): Promise<Buffer> {
    const target = { commit, remoteRef: commit };
    return this.#repaired(target, async () => {
      await this.#open();
      const { type, content } = await this.#options.directory.read(oid);
      if (type !== 'blob') throw new Error(`the object ${oid} is a ${type} instead of a blob`);
      return content;
    });
  }

  /** Opens the directory once, also for parallel calls. */
  #open(): Promise<void> {
    this.#opened ??= this.#options.directory.open();
    return this.#opened;
  }

  async #repaired<T>(target: Target, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      if (error instanceof BerthError) throw error;
      if (outOfSpace.includes(systemCode(error) ?? '')) {
        throw unwritable(this.#options.directory.path, error);
      }
      if (!this.#options.remote) throw missing(error);
      this.#repair ??= this.#fetchAgain(target, error);
    }
    await this.#repair;
    try {
      return await action();
    } catch (error) {
      throw error instanceof BerthError || isBug(error) ? error : unreadable(error);
    }
  }

  async #fetchAgain(target: Target, cause: unknown): Promise<void> {
    const { directory, remote, setAside, log } = this.#options;
    log.warn('volume_repaired', 'the git directory was damaged and is fetched again', {
      error: cause,
    });
    await setAside();
    this.#opened = undefined;
    await this.#open();
    try {
      await remote?.fetch(target, directory);
    } catch (error) {
      throw error instanceof BerthError || isBug(error) ? error : unreadable(error);
    }
  }
}

/** The commit of the record, if the record is proved by the id of the commit. */
function proven(record: TreeRecord): Commit | undefined {
  const text = Buffer.from(record.commit_text, 'base64');
  const tree = treeOf(record);
  return proves(record.commit, text, tree) ? { id: record.commit, text, tree } : undefined;
}

/** The tree of a record, without proof. */
export function treeOf(record: TreeRecord): Tree {
  return new Map(
    Object.entries(record.entries).map(([path, { mode, oid }]): [string, TreeEntry] => [
      path,
      { mode, oid },
    ]),
  );
}

function missing(cause: unknown): BerthError {
  return new BerthError(
    'remote_unavailable',
    `cannot complete the volume without the git server: ${messageOf(cause)}; make the server reachable`,
    { cause },
  );
}

/** After a full fetch, damage does not cause such an error. */
function isBug(error: unknown): boolean {
  const typical = error instanceof TypeError || error instanceof ReferenceError;
  return typical && systemCode(error) === undefined;
}

function unreadable(cause: unknown): BerthError {
  return new BerthError(
    'remote_refused',
    `cannot read the data of the git server: ${messageOf(cause)}; berth reads SHA-1 repositories with packs under 2 GiB`,
    { cause },
  );
}
