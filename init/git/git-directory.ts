/**
 * The git directory in berth's state: where fetched objects lie. There is no work tree in it.
 * Always holds: the CLI can write here, so its settings are rewritten before each use, symlinks and
 * special files make it unusable, and every object is checked against its id when it is read. All
 * of it can be fetched again, so what is wrong with it is never worth an error to a person.
 */
import { randomBytes } from 'node:crypto';
import { lstat, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import { LargeFiles } from './large-object.ts';
import { Pack } from './pack.ts';
import { buildIndex, objectId } from './pack-format.ts';
import { tooLarge } from './remote-errors.ts';
import { StoredPack } from './stored-pack.ts';

/** The refspec matches nothing: the library shall write no refs of its own. */
const settings = `[core]
\trepositoryformatversion = 0
\tbare = true
[remote "origin"]
\turl = https://invalid.
\tfetch = +refs/none/*:refs/remotes/none/*
`;

/** The one ref: the commit fetched last, which the next fetch offers as known. */
const head = 'refs/heads/berth';
/** What a power cut takes of it is seen when it is read, set aside and fetched again. */
const refetchable = { durable: false };
const mostFiles = 2_000;
const temporary = /\/objects\/pack\/tmp-[0-9a-f]{12}$/;
/** Nothing collects packs, so from this many on, or this many bytes, one fresh fetch replaces them. */
const mostPacks = 12;
const growth = { factor: 2, bytes: 16 * 1024 * 1024 };

/** What a fetch into the git directory needs. */
export interface Receiving {
  gitdir: string;
  /** isomorphic-git's cache of this directory. */
  cache: object;
  /** Whether the server may send deltas against objects that are here. */
  thin: boolean;
  /** Takes the next bytes of the pack; more may come when the promise resolves. */
  take: (part: Buffer) => Promise<void>;
}

export class GitDirectory {
  readonly path: string;
  #cache: object = {};
  #packs: { bytes: number; time: number }[] = [];
  /** Those of earlier runs, opened when something is read from them. */
  #stored: Promise<StoredPack[]> | undefined;
  /** What was fetched in this run, read from memory where it can be. */
  #fresh: Pack | undefined;
  #mostBytes: number;
  #largeFiles: LargeFiles;
  #url = '';

  /**
   * @param mostBytes that a fetch may inflate to
   * @param largeFiles gets the large blobs of a fetch, as files
   */
  constructor(path: string, mostBytes = Number.POSITIVE_INFINITY, largeFiles = new LargeFiles()) {
    this.path = path;
    this.#mostBytes = mostBytes;
    this.#largeFiles = largeFiles;
  }

  /** Makes it usable, empty if it was not there. @throws Error if it is not safe to use. */
  async open(): Promise<void> {
    await this.close();
    this.#packs = [];
    for (const file of await filesIn(this.path)) {
      if (temporary.test(file)) await rm(file, { force: true });
      if (!file.endsWith('.pack')) continue;
      const { size, mtimeMs } = await lstat(file);
      this.#packs.push({ bytes: size, time: mtimeMs });
    }
    for (const directory of ['objects/pack', 'refs/heads', 'refs/tags']) {
      await mkdir(join(this.path, directory), { recursive: true });
    }
    await writeFileAtomic(join(this.path, 'config'), settings, refetchable);
    await writeFileAtomic(join(this.path, 'HEAD'), `ref: ${head}\n`, refetchable);
  }

  /** Lets go of files and memory; it can be used again. */
  async close(): Promise<void> {
    this.#cache = {};
    const stored = await this.#stored?.catch(() => []);
    this.#stored = undefined;
    for (const pack of stored ?? []) pack.close();
    await this.#fresh?.close();
    this.#fresh = undefined;
    this.#largeFiles.clear();
  }

  async remove(): Promise<void> {
    await this.close();
    await rm(this.path, { recursive: true, force: true });
  }

  /** The commit fetched last, if any. */
  async fetched(): Promise<string | undefined> {
    const text = (await readFileBounded(join(this.path, head), 64))?.toString().trim() ?? '';
    return /^[0-9a-f]{40}$/.test(text) ? text : undefined;
  }

  /**
   * Keeps the pack that `fetch` receives, if it receives one.
   * @param fetch fetches from the server at `url`, and returns the id of what was wanted
   * @returns that id
   */
  async receive(url: string, fetch: (place: Receiving) => Promise<string>): Promise<string> {
    this.#url = url;
    if (this.#isOutgrown()) {
      await this.remove();
      await this.open();
    }
    await this.close();
    const thin = (await this.fetched()) !== undefined;
    const path = join(this.path, 'objects/pack', `tmp-${randomBytes(6).toString('hex')}`);
    const pack = Pack.create({
      path,
      largeFiles: this.#largeFiles,
      allow: (bytes) => {
        if (bytes > this.#mostBytes) throw tooLarge(url, this.#mostBytes);
      },
      external: (oid) => this.#readStored(oid),
    });
    this.#fresh = pack;
    let received = false;
    const take = (part: Buffer): Promise<void> => {
      received = true;
      return pack.write(part);
    };
    try {
      const oid = await fetch({ gitdir: this.path, cache: this.#cache, thin, take });
      if (received) await this.#keep(pack, path);
      return oid;
    } catch (error) {
      await this.close();
      throw error;
    } finally {
      await rm(path, { force: true });
    }
  }

  /** Gives a pack its name and its index, so that the library finds it from the next run on. */
  async #keep(pack: Pack, path: string): Promise<void> {
    const trailer = await pack.finish();
    const name = join(this.path, 'objects/pack', `pack-${trailer.toString('hex')}`);
    await writeFileAtomic(`${name}.idx`, buildIndex(pack.rows, trailer), refetchable);
    await rename(path, `${name}.pack`);
    // Objects read before may have been missing; the library remembers the packs it saw.
    this.#cache = {};
  }

  /** Whether the packs have become so many, or so much more than the first, that one is better. */
  #isOutgrown(): boolean {
    const packs = this.#packs.toSorted((a, b) => a.time - b.time);
    const bytes = packs.reduce((sum, pack) => sum + pack.bytes, 0);
    const first = packs[0]?.bytes ?? 0;
    return packs.length >= mostPacks || bytes > Math.max(growth.bytes, first * growth.factor);
  }

  /** Makes `commit` the one that the next fetch offers as known. */
  async remember(commit: string): Promise<void> {
    await writeFileAtomic(join(this.path, head), `${commit}\n`, refetchable);
  }

  /**
   * What was fetched in this run may be named at very many paths.
   * @throws BerthError if all of it together is more than may be
   */
  assertFits(tree: ReadonlyMap<string, { oid: string }>): void {
    let bytes = 0;
    for (const { oid } of tree.values()) bytes += this.#fresh?.sizeOf(oid) ?? 0;
    if (bytes > this.#mostBytes) throw tooLarge(this.#url, this.#mostBytes);
  }

  /** The object, checked against its id. @throws Error if it is missing or damaged */
  read(oid: string): Promise<{ type: string; content: Buffer }> {
    return this.#fresh?.has(oid) ? this.#fresh.read(oid) : this.#readStored(oid);
  }

  async #readStored(oid: string): Promise<{ type: string; content: Buffer }> {
    this.#stored ??= this.#openStored();
    for (const pack of await this.#stored) {
      const found = await pack.read(oid, (base) => this.#readStored(base));
      if (!found) continue;
      if (objectId(found.type, found.content) !== oid) break;
      return found;
    }
    throw new Error(`the object ${oid} is missing or damaged`);
  }

  async #openStored(): Promise<StoredPack[]> {
    const packs: StoredPack[] = [];
    try {
      for (const file of await filesIn(this.path)) {
        if (!file.endsWith('.pack')) continue;
        const pack = await StoredPack.open(file.slice(0, -5));
        // What is in it counts as missing; what others have is of use all the same.
        if (pack) packs.push(pack);
      }
      return packs;
    } catch (error) {
      for (const pack of packs) pack.close();
      throw error;
    }
  }
}

/** Every regular file below `directory`. @throws Error at anything that git would not put there */
async function filesIn(directory: string): Promise<string[]> {
  const files: string[] = [];
  const pending = [directory];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const entries = await readdir(next, { withFileTypes: true }).catch((error) => {
      if (next === directory && error.code === 'ENOENT') return [];
      throw error;
    });
    for (const entry of entries) {
      const path = join(next, entry.name);
      if (entry.isDirectory()) pending.push(path);
      else if (entry.isFile()) files.push(path);
      else throw new Error(`${path} is neither a file nor a directory`);
    }
    if (files.length > mostFiles) throw new Error(`there are too many files in ${directory}`);
  }
  return files;
}
