/**
 * The git directory in berth's state: it holds fetched objects, and no work tree.
 * Invariants: the CLI can write here. So the settings are rewritten before each use, symlinks and
 * special files make the directory unusable, and every object is checked against its id when it is
 * read. Everything can be fetched again, so damage is repaired and is not an error for a person.
 */
import { randomBytes } from 'node:crypto';
import { lstat, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectories, readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import { LargeFiles } from './large-object.ts';
import { Pack } from './pack.ts';
import { buildIndex, objectId } from './pack-format.ts';
import { tooLarge } from './remote-errors.ts';
import { StoredPack } from './stored-pack.ts';

/** The refspec matches nothing, so the library writes no refs. */
const settings = `[core]
\trepositoryformatversion = 0
\tbare = true
[remote "origin"]
\turl = https://invalid.
\tfetch = +refs/none/*:refs/remotes/none/*
`;

/** The only ref: the commit fetched last, which the next fetch offers to the server. */
const head = 'refs/heads/berth';
/** Damage by a power cut is found when the file is read; then everything is fetched again. */
const refetchable = { durable: false };
const mostFiles = 2_000;
const temporary = /\/objects\/pack\/tmp-[0-9a-f]{12}$/;
/** From this number of packs, or this growth, one full fetch replaces all packs. */
const mostPacks = 12;
const growth = { factor: 2, bytes: 16 * 1024 * 1024 };

/** Everything that a fetch into the git directory needs. */
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
  /** The packs of earlier runs, opened at the first read. */
  #stored: Promise<StoredPack[]> | undefined;
  /** The pack of this run; small objects are in memory. */
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

  /** Prepares the directory for use, and creates it if missing. @throws Error if it is not safe to use */
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
      await makeDirectories(join(this.path, directory));
    }
    await writeFileAtomic(join(this.path, 'config'), settings, refetchable);
    await writeFileAtomic(join(this.path, 'HEAD'), `ref: ${head}\n`, refetchable);
  }

  /** Closes files and frees memory. The directory can be used again. */
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
   * Stores the pack that `fetch` receives, if it receives one.
   * @param fetch fetches from the server at `url`, and returns the id of the requested commit
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
    // The library caches the list of packs.
    this.#cache = {};
  }

  /** Whether the number or the size of the packs is so large that one full fetch is better. */
  #isOutgrown(): boolean {
    const packs = this.#packs.toSorted((a, b) => a.time - b.time);
    const bytes = packs.reduce((sum, pack) => sum + pack.bytes, 0);
    const first = packs[0]?.bytes ?? 0;
    return packs.length >= mostPacks || bytes > Math.max(growth.bytes, first * growth.factor);
  }

  /** Records `commit` as the commit that the next fetch offers to the server. */
  async remember(commit: string): Promise<void> {
    await writeFileAtomic(join(this.path, head), `${commit}\n`, refetchable);
  }

  /**
   * A tree can name one fetched blob at very many paths.
   * @throws BerthError `remote_refused` if all paths together have more bytes than allowed
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
        // The objects of a pack without an index count as missing; other packs are still used.
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
