/**
 * Writes commits as loose objects, as `git fast-import` makes them below a hundred objects, but without a process: a
 * process costs a large test process 30 ms of CPU, and the tests make thousands of commits. The ids are the same.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { deflateSync } from 'node:zlib';
import type { FileSpec } from './repository.ts';

export interface NewCommit {
  message: string;
  /** The full name. */
  ref: string;
  parent: string | undefined;
  /** Seconds. */
  time: number;
}

interface Entry {
  mode: string;
  id: string;
}

/** The files of a commit by their paths. */
type Files = ReadonlyMap<string, Entry>;

/** Larger commits are better in a pack, which git makes. */
const mostFiles = 100;
const mostBytes = 16 * 1024 * 1024;

export class LooseCommits {
  readonly #path: string;
  /** By the ids of the commits that were written here. */
  readonly #written = new Map<string, Files>();

  /** @param path the bare repository */
  constructor(path: string) {
    this.#path = path;
  }

  /** Writes a commit and its ref. Returns false, and writes nothing, where only git itself knows how. */
  write(specs: Record<string, FileSpec | null>, commit: NewCommit): boolean {
    const { parent, message, ref, time } = commit;
    const before = parent === undefined ? new Map<string, Entry>() : this.#written.get(parent);
    const paths = Object.keys(specs);
    const isOdd = (path: string): boolean => path.split('/').includes('');
    if (!before || paths.length > mostFiles || paths.some(isOdd)) return false;
    if (Object.values(specs).some((spec) => sizeOf(spec) > mostBytes)) return false;
    const files = new Map(before);
    for (const [path, spec] of Object.entries(specs)) {
      for (const other of files.keys()) if (isBelow(other, path)) files.delete(other);
      if (spec === null) continue;
      // A file goes where a path needs a folder.
      for (const other of files.keys()) if (isBelow(path, other)) files.delete(other);
      files.set(path, this.#entryOf(spec));
    }
    const person = `berth <berth@example.test> ${time} +0000`;
    const lines = [
      `tree ${this.#tree(files)}`,
      ...(parent === undefined ? [] : [`parent ${parent}`]),
      `author ${person}`,
      `committer ${person}`,
    ];
    const id = this.#object('commit', Buffer.from(`${lines.join('\n')}\n\n${message}`));
    this.#written.set(id, files);
    this.#replace(ref, `${id}\n`);
    return true;
  }

  #entryOf(spec: FileSpec): Entry {
    const blob = (content: string | Buffer, mode: string): Entry => ({
      mode,
      id: this.#object('blob', Buffer.from(content)),
    });
    if (typeof spec === 'string' || Buffer.isBuffer(spec)) return blob(spec, '100644');
    if ('symlink' in spec) return blob(spec.symlink, '120000');
    if ('submodule' in spec) return { mode: '160000', id: spec.submodule };
    return blob(spec.content, spec.mode ?? '100644');
  }

  #tree(files: Files): string {
    const entries = new Map<string, Entry>();
    const folders = new Map<string, Map<string, Entry>>();
    for (const [path, entry] of files) {
      const slash = path.indexOf('/');
      if (slash < 0) {
        entries.set(path, entry);
        continue;
      }
      const name = path.slice(0, slash);
      const folder = folders.get(name) ?? new Map<string, Entry>();
      folders.set(name, folder.set(path.slice(slash + 1), entry));
    }
    for (const [name, folder] of folders) {
      entries.set(name, { mode: '40000', id: this.#tree(folder) });
    }
    // git sorts by bytes, a folder as if its name ended with a slash.
    const keyOf = ([name, { mode }]: [string, Entry]): Buffer =>
      Buffer.from(mode === '40000' ? `${name}/` : name);
    const parts = [...entries]
      .map((each) => ({ each, key: keyOf(each) }))
      .sort((one, other) => Buffer.compare(one.key, other.key))
      .flatMap(({ each: [name, { mode, id }] }) => [
        Buffer.from(`${mode} ${name}\0`),
        Buffer.from(id, 'hex'),
      ]);
    return this.#object('tree', Buffer.concat(parts));
  }

  #object(type: string, content: Buffer): string {
    const bytes = Buffer.concat([Buffer.from(`${type} ${content.length}\0`), content]);
    const id = createHash('sha1').update(bytes).digest('hex');
    const name = join('objects', id.slice(0, 2), id.slice(2));
    if (!existsSync(join(this.#path, name))) this.#replace(name, deflateSync(bytes, { level: 1 }));
    return id;
  }

  /** A request to the server sees the whole file or none. */
  #replace(name: string, content: string | Buffer): void {
    const path = join(this.#path, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.new`, content);
    renameSync(`${path}.new`, path);
  }
}

function sizeOf(spec: FileSpec | null): number {
  if (spec === null) return 0;
  if (typeof spec === 'string' || Buffer.isBuffer(spec)) return spec.length;
  return 'content' in spec ? spec.content.length : 0;
}

function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}
