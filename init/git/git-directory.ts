/**
 * The git directory in berth's state: where fetched objects lie. There is no work tree in it.
 * Always holds: the CLI can write here, so its settings are rewritten before each use, symlinks and
 * special files make it unusable, and every object is checked against its id when it is read. All
 * of it can be fetched again, so what is wrong with it is never worth an error to a person.
 */
import { createHash, randomBytes } from 'node:crypto';
import nodeFs from 'node:fs';
import { lstat, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import type { LaidOut } from './large-object.ts';
import { Pack } from './pack.ts';
import { buildIndex } from './pack-format.ts';
import { StoredPack } from './stored-pack.ts';
import { type Transport, tooLarge } from './transport.ts';

/** The library is loaded only when there is something to talk to: it costs 20 to 40 ms. */
export const loadGit = () => import('./git-library.ts');

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

export interface FetchRequest {
  transport: Transport;
  url: string;
  /** A full ref name, `HEAD`, or a full object id. */
  remoteRef: string;
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
  #url = '';

  /** @param mostBytes that a fetch may inflate to */
  constructor(path: string, mostBytes = Number.POSITIVE_INFINITY) {
    this.path = path;
    this.#mostBytes = mostBytes;
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
   * Fetches `remoteRef`, one commit deep: what of it is not here already. The library negotiates; the
   * pack goes past it into a reader of our own, which is several times as fast.
   * @returns the id of the commit or annotated tag
   */
  async fetch({ transport, url, remoteRef }: FetchRequest): Promise<string> {
    this.#url = url;
    const git = await loadGit();
    if (this.#isOutgrown()) {
      await this.remove();
      await this.open();
    }
    await this.close();
    const thin = (await this.fetched()) !== undefined;
    const path = join(this.path, 'objects/pack', `tmp-${randomBytes(6).toString('hex')}`);
    const pack = Pack.create({
      path,
      allow: (bytes) => {
        if (bytes > this.#mostBytes) throw tooLarge(url, this.#mostBytes);
      },
      external: (oid) => this.#readStored(oid),
    });
    this.#fresh = pack;
    let received = false;
    try {
      transport.divert({
        thin,
        take: (part) => {
          received = true;
          return pack.write(part);
        },
      });
      const { fetchHead } = await git.fetch({
        fs: nodeFs,
        gitdir: this.path,
        cache: this.#cache,
        http: transport.http,
        url,
        remote: 'origin',
        ref: 'berth',
        remoteRef,
        singleBranch: true,
        tags: false,
        depth: 1,
        // Not to be asked from the settings in the directory.
        corsProxy: '',
      });
      const failure = transport.failure();
      if (failure !== undefined) throw failure;
      if (fetchHead === null) throw new Error('the server sent no commit');
      if (received) await this.#keep(pack, path);
      return fetchHead;
    } catch (error) {
      await this.close();
      throw error;
    } finally {
      transport.divert(undefined);
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

  /** The content of a large blob that was fetched in this run, as a file that may be moved; once. */
  takeFile(oid: string): LaidOut | undefined {
    return this.#fresh?.take(oid);
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

/** The id that git gives to an object. */
export function objectId(type: string, content: Uint8Array): string {
  return createHash('sha1').update(`${type} ${content.length}\0`).update(content).digest('hex');
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
