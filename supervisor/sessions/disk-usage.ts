/**
 * What the files below a directory take on its file system, as the kubelet counts an emptyDir: to know
 * of a `sizeLimit` before the pod is evicted for it. `statfs` tells of the whole disk only.
 * Always holds: one look at a time; looking takes at most a twentieth of the time, however many files
 * there are; no symbolic link is followed and no other file system entered.
 */
import type { Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Files asked for at once. */
const atOnce = 32;

export class DiskUsage {
  readonly #path: string;
  #used: number | undefined;
  #look: Promise<void> | undefined;
  /** By performance.now(). */
  #notBefore = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Bytes, by the last look; undefined if there was none, or the directory cannot be read. Never rejects. */
  async bytes(): Promise<number | undefined> {
    if (performance.now() >= this.#notBefore) {
      this.#look ??= this.#measure().finally(() => {
        this.#look = undefined;
      });
    }
    // A look at very many files is not waited for: the one before counts until it is done.
    await Promise.race([this.#look, delay(1_000, undefined, { ref: false })]);
    return this.#used;
  }

  async #measure(): Promise<void> {
    const began = performance.now();
    this.#used = await takenBelow(this.#path);
    const ended = performance.now();
    this.#notBefore = ended + 19 * (ended - began);
  }
}

async function takenBelow(root: string): Promise<number | undefined> {
  const top = await look(root);
  if (!top) return undefined;
  let total = bytesOf(top);
  const linked = new Set<number>();
  const directories = [root];
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    const names = await readdir(directory).catch(() => []);
    for (let index = 0; index < names.length; index += atOnce) {
      const paths = names.slice(index, index + atOnce).map((name) => join(directory, name));
      const found = await Promise.all(paths.map(look));
      found.forEach((stats, at) => {
        if (!stats || stats.dev !== top.dev) return;
        if (stats.isDirectory()) directories.push(paths[at] as string);
        else if (stats.nlink > 1 && linked.has(stats.ino)) return;
        else if (stats.nlink > 1) linked.add(stats.ino);
        total += bytesOf(stats);
      });
    }
  }
  return total;
}

function look(path: string): Promise<Stats | undefined> {
  return lstat(path).catch(() => undefined);
}

/** What it takes, holes not counted; st_blocks is in units of 512 bytes whatever the file system's are. */
function bytesOf(stats: Stats): number {
  return stats.blocks * 512;
}
