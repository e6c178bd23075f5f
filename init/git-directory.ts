/**
 * The git directory in berth's state: where fetched objects lie. There is no work tree in it.
 * Always holds: the CLI can write here, so its settings are rewritten before each use, symlinks and
 * special files make it unusable, and every object is checked against its id when it is read. All
 * of it can be fetched again, so what is wrong with it is never worth an error to a person.
 */
import { createHash } from 'node:crypto';
import nodeFs from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { HttpClient } from 'isomorphic-git';
import { readFileBounded, writeFileAtomic } from '../shared/files.ts';

/** The library is loaded only when there is something to talk to: it costs 20 to 40 ms. */
export const loadGit = async () => (await import('isomorphic-git')).default;

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
const mostFiles = 2_000;
/** Nothing collects packs, so from this many on one fresh fetch replaces them. */
const mostPacks = 12;

export interface FetchRequest {
  http: HttpClient;
  url: string;
  /** A full ref name, `HEAD`, or a full object id. */
  remoteRef: string;
}

export class GitDirectory {
  readonly path: string;
  #cache: object = {};
  #packs = 0;

  constructor(path: string) {
    this.path = path;
  }

  /** Makes it usable, empty if it was not there. @throws Error if it is not safe to use. */
  async open(): Promise<void> {
    this.#cache = {};
    this.#packs = (await filesIn(this.path)).filter((file) => file.endsWith('.pack')).length;
    for (const directory of ['objects/pack', 'refs/heads', 'refs/tags']) {
      await mkdir(join(this.path, directory), { recursive: true });
    }
    await writeFileAtomic(join(this.path, 'config'), settings);
    await writeFileAtomic(join(this.path, 'HEAD'), `ref: ${head}\n`);
  }

  async remove(): Promise<void> {
    this.#cache = {};
    await rm(this.path, { recursive: true, force: true });
  }

  /** The commit fetched last, if any. */
  async fetched(): Promise<string | undefined> {
    const text = (await readFileBounded(join(this.path, head), 64))?.toString().trim() ?? '';
    return /^[0-9a-f]{40}$/.test(text) ? text : undefined;
  }

  /**
   * Fetches `remoteRef`: one commit deep at first, later what changed since the commit fetched last.
   * @returns the id of the commit, behind annotated tags
   */
  async fetch({ http, url, remoteRef }: FetchRequest): Promise<string> {
    const git = await loadGit();
    if (this.#packs >= mostPacks) {
      await this.remove();
      await this.open();
    }
    const known = (await this.fetched()) !== undefined;
    const { fetchHead } = await git.fetch({
      fs: nodeFs,
      gitdir: this.path,
      cache: this.#cache,
      http,
      url,
      remote: 'origin',
      ref: 'berth',
      remoteRef,
      singleBranch: true,
      tags: false,
      // With a depth the library downloads the whole snapshot again.
      ...(known ? {} : { depth: 1 }),
      // Not to be asked from the settings in the directory.
      corsProxy: '',
    });
    if (fetchHead === null) throw new Error('the server sent no commit');
    // Objects read before may have been missing; the library remembers the packs it saw.
    this.#cache = {};
    return fetchHead;
  }

  /** Makes `commit` the one that the next fetch offers as known. */
  async remember(commit: string): Promise<void> {
    await writeFileAtomic(join(this.path, head), `${commit}\n`);
  }

  /** The object, checked against its id. @throws Error if it is missing or damaged */
  async read(oid: string): Promise<{ type: string; content: Buffer }> {
    const git = await loadGit();
    const { object, type } = await git.readObject({
      fs: nodeFs,
      gitdir: this.path,
      cache: this.#cache,
      oid,
      format: 'content',
    });
    const content = Buffer.from(object as Uint8Array);
    if (objectId(String(type), content) !== oid) throw new Error(`the object ${oid} is damaged`);
    return { type: String(type), content };
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
