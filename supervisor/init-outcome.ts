/**
 * What init has reported of its run before this start, and how many local copies wait in `conflicts/`
 * for a person.
 * Always holds: all of it is untrusted (the CLI can write it), so it is parsed, bounded and never
 * followed out of the volume; what cannot be read is told as unknown, and nothing waits for it.
 */
import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { systemCode } from '../shared/errors.ts';
import { readFileBounded } from '../shared/files.ts';
import { reportFile } from '../shared/state-directory.ts';

const count = z.number().int().nonnegative();

const report = z
  .looseObject({
    version: z.literal(1),
    commit: z.string().regex(/^[0-9a-f]{40}$/),
    /** How the volume was found. */
    volume: z.string().regex(/^[a-z_]{1,40}$/),
    /** `failed`: the run went on with what was on the volume, without the git server. */
    remote: z.enum(['current', 'failed']),
    /** When the git server last confirmed the commit. */
    confirmed_at: z.iso.datetime(),
    finished_at: z.iso.datetime(),
    duration_ms: z.number().nonnegative(),
    ...{ written: count, restored: count, merged: count, removed: count },
    ...{ kept: count, conflicts: count, drift: count, skipped: count },
  })
  .readonly();

export type ReportOfInit = z.infer<typeof report>;

const largestReport = 256 * 1024;

export class InitOutcome {
  readonly #stateDirectory: string;
  readonly #mostEntries: number;
  #report: ReportOfInit | undefined;
  #conflicts: number | undefined;
  #looking: Promise<void> | undefined;

  /** @param mostEntries of `conflicts/` that are looked at: more are told as so many */
  constructor(stateDirectory: string, mostEntries = 10_000) {
    this.#stateDirectory = stateDirectory;
    this.#mostEntries = mostEntries;
  }

  /** Of the run before this start; undefined if there was none or its report cannot be read. */
  get report(): ReportOfInit | undefined {
    return this.#report;
  }

  /** Files in `conflicts/` at the last look; undefined before the first one and if it failed. */
  get conflicts(): number | undefined {
    return this.#conflicts;
  }

  /** Reads what is there; never rejects. */
  async load(): Promise<void> {
    const path = join(this.#stateDirectory, reportFile);
    try {
      const content = await readFileBounded(path, largestReport);
      this.#report = content && report.parse(JSON.parse(content.toString('utf8')));
    } catch {
      this.#report = undefined;
    }
    await this.look();
  }

  /** Counts the files in `conflicts/` again, one look at a time; never rejects. */
  look(): Promise<void> {
    this.#looking ??= countFiles(join(this.#stateDirectory, 'conflicts'), this.#mostEntries)
      .catch(() => undefined)
      .then((files) => {
        this.#conflicts = files;
        this.#looking = undefined;
      });
    return this.#looking;
  }
}

/** Whatever is no directory counts as a file; undefined if `root` is something else than a directory. */
async function countFiles(root: string, mostEntries: number): Promise<number | undefined> {
  try {
    if (!(await lstat(root)).isDirectory()) return undefined;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return 0;
    throw error;
  }
  const waiting = [root];
  let files = 0;
  let entries = 0;
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    for await (const entry of await opendir(directory)) {
      if (entry.isDirectory()) waiting.push(join(directory, entry.name));
      else files += 1;
      entries += 1;
      if (entries >= mostEntries) return files;
    }
  }
  return files;
}
