/**
 * Detects an unclean shutdown. A marker file exists on the volume while the supervisor runs; if the
 * next start finds it, the previous run was killed. If the kernel kills the whole container for its
 * memory, the marker is the only trace inside: the cgroup and its counters are gone.
 * Invariants: the marker never prevents a start or a stop. Only a time is read from the file,
 * because the CLI can write it.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';

/** In berth's state. */
export const shutdownMarkerFile = 'running.json';

const mark = z.object({ version: z.literal(1), since: z.iso.datetime() });

export class ShutdownMarker {
  readonly #path: string;
  readonly #log: Log;
  #unclean: number | undefined;
  #set = false;

  constructor(stateDirectory: string, log: Log) {
    this.#path = join(stateDirectory, shutdownMarkerFile);
    this.#log = log;
  }

  /** When this run detected that the previous run was killed: ms since 1970. */
  get uncleanEnd(): number | undefined {
    return this.#unclean;
  }

  /** Checks for the marker of the previous run, and creates a marker. The lease is held. */
  async set(): Promise<void> {
    const now = new Date();
    this.#set = true;
    try {
      const before = await readFileBounded(this.#path, 4 * 1024);
      if (before !== undefined) this.#logUncleanEnd(now, before.toString('utf8'));
      const text = JSON.stringify({ version: 1, since: now.toISOString() });
      await writeFileAtomic(this.#path, text, { mode: 0o600 });
    } catch (error) {
      const text =
        'cannot write the marker file on the volume: the next run cannot detect an unclean shutdown';
      this.#log.warn('run_mark_failed', text, { error });
    }
  }

  /** Removes the marker at a clean stop, while the lease is still held. */
  async clear(): Promise<void> {
    if (this.#set) await rm(this.#path, { force: true });
  }

  #logUncleanEnd(now: Date, text: string): void {
    this.#unclean = now.getTime();
    const since = sinceOf(text);
    this.#log.warn(
      'unclean_end',
      'the previous run did not shut down: it was killed (out of memory, or by the kubelet), its node failed, or an error ended it (`failed` in its log); `kubectl describe pod` may show the cause',
      { since },
    );
  }
}

function sinceOf(text: string): string | undefined {
  try {
    return mark.parse(JSON.parse(text)).since;
  } catch {
    return undefined;
  }
}
