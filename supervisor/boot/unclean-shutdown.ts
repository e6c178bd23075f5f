/**
 * Tells an end that nobody ordered: a mark on the volume while the supervisor runs, taken away when it
 * stops. Where the kernel ends a container as a whole for its memory, this is the one trace that is left
 * inside: its cgroup, with the count of such ends, goes with it.
 * Always holds: the mark never keeps the supervisor from starting or stopping; of what is in the file
 * (the CLI can write it) nothing is believed but a time.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';

/** In berth's state. */
export const runMarkFile = 'running.json';

const mark = z.object({ version: z.literal(1), since: z.iso.datetime() });

export class RunMark {
  readonly #path: string;
  readonly #log: Log;
  #unclean: number | undefined;
  #set = false;

  constructor(stateDirectory: string, log: Log) {
    this.#path = join(stateDirectory, runMarkFile);
    this.#log = log;
  }

  /** When this run found that the one before was ended in the middle: ms since 1970. */
  get uncleanEnd(): number | undefined {
    return this.#unclean;
  }

  /** Looks for the mark of the run before, and leaves one. The lease is held. */
  async set(): Promise<void> {
    const now = new Date();
    this.#set = true;
    try {
      const before = await readFileBounded(this.#path, 4 * 1024);
      if (before !== undefined) this.#tell(now, before.toString('utf8'));
      const text = JSON.stringify({ version: 1, since: now.toISOString() });
      await writeFileAtomic(this.#path, text, { mode: 0o600 });
    } catch (error) {
      const text = 'cannot leave a mark on the volume: an end that nobody ordered will not be told';
      this.#log.warn('run_mark_failed', text, { error });
    }
  }

  /** It stops, and still has the volume for itself. */
  async clear(): Promise<void> {
    if (this.#set) await rm(this.#path, { force: true });
  }

  #tell(now: Date, text: string): void {
    this.#unclean = now.getTime();
    const since = sinceOf(text);
    this.#log.warn(
      'unclean_end',
      'the run before did not stop: it was killed, for its memory or by the kubelet, its node died, or it ended by an error of its own (`failed` in its log); `kubectl describe pod` may say which',
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
