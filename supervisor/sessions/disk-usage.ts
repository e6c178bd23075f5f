/**
 * What the files below a directory take on its file system, as the kubelet counts an emptyDir: to know
 * of a `sizeLimit` before the pod is evicted for it. `statfs` tells of the whole disk only.
 * Always holds: one look at a time; looking takes at most a twentieth of the time, however many files
 * there are, and a bounded memory; no symbolic link is followed, and what is mounted below is not entered.
 */

import type { Stats } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { within } from '../../shared/waiting.ts';

export interface DiskUsageOptions {
  path: string;
  /** Absolute paths at which something is mounted; for a bind mount the device tells nothing. */
  mountPoints: () => Promise<ReadonlySet<string>>;
  /** Ends a look for good. */
  signal: AbortSignal;
}

/** Files asked for at once. */
const atOnce = 32;
/** Of so many files at most; what more there are take is not known. */
const mostFiles = 1_000_000;
/** Of files with several names, those that are remembered; others count once for each name. */
const mostLinked = 10_000;

export class DiskUsage {
  readonly #options: DiskUsageOptions;
  #used: number | undefined;
  #look: Promise<void> | undefined;
  /** By performance.now(). */
  #notBefore = 0;

  constructor(options: DiskUsageOptions) {
    this.#options = options;
  }

  /** Bytes, by the last look; undefined if there was none, or the directory cannot be read. Never rejects. */
  async bytes(): Promise<number | undefined> {
    if (performance.now() >= this.#notBefore && !this.#options.signal.aborted) {
      this.#look ??= this.#measure().finally(() => {
        this.#look = undefined;
      });
    }
    // A look at very many files is not waited for: the one before counts until it is done.
    if (this.#look) await within(this.#look, 1_000);
    return this.#used;
  }

  async #measure(): Promise<void> {
    const began = performance.now();
    this.#used = await takenBelow(this.#options);
    const ended = performance.now();
    this.#notBefore = ended + 19 * (ended - began);
  }
}

async function takenBelow({
  path: root,
  mountPoints,
  signal,
}: DiskUsageOptions): Promise<number | undefined> {
  const top = await look(root);
  if (!top) return undefined;
  const mounted = await mountPoints();
  const linked = new Set<number>();
  let total = bytesOf(top);
  const directories = [root];
  for await (const paths of batchesBelow(directories, signal)) {
    const found = await Promise.all(paths.map(look));
    for (const [index, stats] of found.entries()) {
      const path = paths[index] as string;
      if (!stats || stats.dev !== top.dev || mounted.has(path)) continue;
      if (stats.isDirectory()) directories.push(path);
      else if (linked.has(stats.ino)) continue;
      else if (stats.nlink > 1 && linked.size < mostLinked) linked.add(stats.ino);
      total += bytesOf(stats);
    }
  }
  return total;
}

/** Everything that is in `directories`, to which what is found may be added meanwhile. */
async function* batchesBelow(directories: string[], signal: AbortSignal) {
  let files = 0;
  let batch: string[] = [];
  for (let at = directories.pop(); at !== undefined; at = directories.pop()) {
    try {
      for await (const { name } of await opendir(at, { bufferSize: atOnce })) {
        if (signal.aborted || files === mostFiles) return;
        files += 1;
        batch.push(join(at, name));
        if (batch.length < atOnce) continue;
        yield batch;
        batch = [];
      }
    } catch {
      // It has gone, or is not to be read: nor can it be counted.
    }
    if (directories.length === 0 && batch.length > 0) {
      yield batch;
      batch = [];
    }
  }
}

function look(path: string): Promise<Stats | undefined> {
  return lstat(path).catch(() => undefined);
}

/** What it takes, holes not counted; st_blocks is in units of 512 bytes whatever the file system's are. */
function bytesOf(stats: Stats): number {
  return stats.blocks * 512;
}
