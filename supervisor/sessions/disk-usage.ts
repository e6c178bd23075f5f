/**
 * Measures the disk usage below a directory as the kubelet does for an emptyDir, to detect its
 * `sizeLimit` before the pod is evicted. `statfs` reports the whole disk only.
 * Invariants: one measurement at a time. Measuring takes at most a twentieth of the time, however
 * many files there are, and bounded memory. No symlink is followed, and mounts below are not
 * entered.
 */

import type { Stats } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { within } from '../../shared/waiting.ts';

export interface DiskUsageOptions {
  path: string;
  /** Absolute paths of mounts; the device number does not reveal a bind mount. */
  mountPoints: () => Promise<ReadonlySet<string>>;
  /** Ends a measurement for good. */
  signal: AbortSignal;
}

/** The number of files that are queried concurrently. */
const atOnce = 32;
/** The maximum number of files; the size of further files is unknown. */
const mostFiles = 1_000_000;
/** The number of hard-linked files that are remembered; others count once for each name. */
const mostLinked = 10_000;

export class DiskUsage {
  readonly #options: DiskUsageOptions;
  #used: number | undefined;
  #look: Promise<void> | undefined;
  /** A time of performance.now(). */
  #notBefore = 0;

  constructor(options: DiskUsageOptions) {
    this.#options = options;
  }

  /**
   * Bytes of the last measurement; undefined if there was none, or the directory is unreadable.
   * Never rejects.
   */
  async bytes(): Promise<number | undefined> {
    if (performance.now() >= this.#notBefore && !this.#options.signal.aborted) {
      this.#look ??= this.#measure().finally(() => {
        this.#look = undefined;
      });
    }
    // A measurement of very many files is not awaited: the previous result counts until it is done.
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
  const top = await statIfPresent(root);
  if (!top) return undefined;
  const mounted = await mountPoints();
  const linked = new Set<number>();
  let total = bytesOf(top);
  const directories = [root];
  for await (const paths of batchesBelow(directories, signal)) {
    const found = await Promise.all(paths.map(statIfPresent));
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

/** All entries of `directories`; found directories may be added meanwhile. */
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
      // The file was removed or is unreadable, and cannot be counted.
    }
    if (directories.length === 0 && batch.length > 0) {
      yield batch;
      batch = [];
    }
  }
}

function statIfPresent(path: string): Promise<Stats | undefined> {
  return lstat(path).catch(() => undefined);
}

/** The size on disk without holes; st_blocks is in units of 512 bytes on every file system. */
function bytesOf(stats: Stats): number {
  return stats.blocks * 512;
}
