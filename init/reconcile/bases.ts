/**
 * `base/` in berth's state: upstream's content from which the edits on the volume were made. A
 * later merge needs it, and the git directory may be renewed in between.
 * Invariants: a file is named by its blob id and used only if its content has that id. After a run
 * there is one file for each edited text, and no other.
 */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isExecutableConfiguration } from '../../shared/executable-configuration.ts';
import { makeDirectories, readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import { objectId } from '../git/pack-format.ts';
import { unsafePath } from '../volume/paths.ts';
import type { RecordedEntry } from '../volume/record.ts';
import { inspectFile } from './local-file.ts';
import { isText, largestText } from './merge-text.ts';

/** The maximum bytes of all files. */
const mostBytes = 64 * 1024 * 1024;
const blobId = /^[0-9a-f]{40}$/;

export class Bases {
  readonly directory: string;

  constructor(stateDirectory: string) {
    this.directory = join(stateDirectory, 'base');
  }

  /** Undefined if it is absent or does not match its name. */
  async read(oid: string): Promise<Buffer | undefined> {
    const content = await readFileBounded(join(this.directory, oid), largestText).catch(() => {});
    return content && objectId('blob', content) === oid ? content : undefined;
  }

  /** Keeps `content`, unless it is not mergeable text, or the maximum is reached. */
  async keep(oid: string, content: Buffer): Promise<void> {
    if (!isText(content) || (await this.#size()) + content.length > mostBytes) return;
    await makeDirectories(this.directory, 0o700);
    await writeFileAtomic(join(this.directory, oid), content, { mode: 0o600 });
  }

  /** Deletes all files except those in `wanted`. */
  async prune(wanted: ReadonlySet<string>): Promise<void> {
    for (const name of await this.#names()) {
      if (!wanted.has(name)) await rm(join(this.directory, name), { recursive: true, force: true });
    }
  }

  async #names(): Promise<string[]> {
    return readdir(this.directory).catch(() => []);
  }

  async #size(): Promise<number> {
    const names = (await this.#names()).filter((name) => blobId.test(name));
    const sizes = names.map(async (name) => (await stat(join(this.directory, name))).size);
    return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  }
}

/**
 * Keeps the base of each file that was edited since the last run, while the git directory still has
 * it: fetching may renew the git directory. One stat for each file; only changed files are read.
 * @param read reads an object of the git directory; a failure means that the object is lost
 */
export async function secureBases(
  bases: Bases,
  entries: ReadonlyMap<string, RecordedEntry>,
  { root, read }: { root: string; read: (oid: string) => Promise<{ content: Buffer }> },
): Promise<void> {
  const real = new Set<string>();
  for (const [path, entry] of entries) {
    if (!entry.mode.startsWith('100') || isExecutableConfiguration(path) || unsafePath(path)) {
      continue;
    }
    const local = inspectFile(root, path, entry, real);
    if (local.kind !== 'file' || local.damaged || local.oid === entry.oid) continue;
    if (local.status.size > largestText || (await bases.read(entry.oid))) continue;
    const object = await read(entry.oid).catch(() => undefined);
    if (object) await bases.keep(entry.oid, object.content);
  }
}
