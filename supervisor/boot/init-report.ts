/**
 * Reads init's report of its run before this start, and counts the local copies in `conflicts/`
 * that wait for a person.
 * Invariants: all files are untrusted (the CLI can write them), so they are parsed, bounded and
 * never followed out of the volume. An unreadable file is an unknown value, and nothing waits for
 * it.
 */
import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { systemCode } from '../../shared/errors.ts';
import { readFileBounded } from '../../shared/files.ts';
import { githubFile, reportFile } from '../../shared/state-directory.ts';

const count = z.number().int().nonnegative();

const report = z
  .looseObject({
    version: z.literal(1),
    repository: z
      .string()
      .regex(/^[\w.:/-]{1,300}$/)
      .optional()
      .catch(undefined),
    commit: z.string().regex(/^[0-9a-f]{40}$/),
    /** The state of the volume that init found. */
    volume: z.string().regex(/^[a-z_]{1,40}$/),
    /** `failed`: init continued with the state on the volume, without the git server. */
    remote: z.enum(['current', 'failed']),
    /** Why nothing of the commit takes effect, for a person: untrusted text. */
    problem: z.string().max(4_096).optional().catch(undefined),
    /** When the git server last confirmed the commit. */
    confirmed_at: z.iso.datetime(),
    finished_at: z.iso.datetime(),
    duration_ms: z.number().nonnegative(),
    /** How the requested CLI was provided; `previous`: it was not, and its predecessor is used. */
    cli: z.enum(['present', 'installed', 'previous']).optional().catch(undefined),
    /**
     * Set if the CLI would ignore the commit's settings.json; `kept`: the last good file is used.
     */
    settings: z.enum(['kept', 'invalid']).optional().catch(undefined),
    ...{ written: count, restored: count, merged: count, removed: count },
    ...{ kept: count, conflicts: count, drift: count, skipped: count },
  })
  .readonly();

export type ReportOfInit = z.infer<typeof report>;

/** init's record of its last check of GitHub. */
const githubQuery = z.looseObject({
  version: z.literal(1),
  looked_at: z.iso.datetime(),
  token_expires_at: z.iso.datetime().optional(),
});

/** Milliseconds: init checks its token at least once a day if the repository is on GitHub. */
const oldestLook = 25 * 3_600_000;

const largestReport = 256 * 1024;

export class InitReportReader {
  readonly #stateDirectory: string;
  readonly #mostEntries: number;
  #report: ReportOfInit | undefined;
  #gitTokenExpiry: number | undefined;
  #conflicts: number | undefined;
  #looking: Promise<void> | undefined;

  /** @param mostEntries of `conflicts/` that are counted at most */
  constructor(stateDirectory: string, mostEntries = 10_000) {
    this.#stateDirectory = stateDirectory;
    this.#mostEntries = mostEntries;
  }

  /** The report of the run before this start; undefined if it is absent or unreadable. */
  get report(): ReportOfInit | undefined {
    return this.#report;
  }

  /** When init's git token expires, in ms since 1970; undefined if GitHub did not report it. */
  get gitTokenExpiry(): number | undefined {
    return this.#gitTokenExpiry;
  }

  /** Files in `conflicts/` at the last count; undefined before the first count and if it failed. */
  get conflicts(): number | undefined {
    return this.#conflicts;
  }

  /** Reads the files; never rejects. */
  async load(): Promise<void> {
    this.#report = await this.#read(reportFile, report);
    const query = await this.#read(githubFile, githubQuery);
    this.#gitTokenExpiry = this.#report && query && expiryOf(query, this.#report);
    await this.refresh();
  }

  async #read<T>(name: string, schema: z.ZodType<T>): Promise<T | undefined> {
    try {
      const content = await readFileBounded(join(this.#stateDirectory, name), largestReport);
      return content && schema.parse(JSON.parse(content.toString('utf8')));
    } catch {
      return undefined;
    }
  }

  /** Counts the files in `conflicts/` again, one count at a time; never rejects. */
  refresh(): Promise<void> {
    this.#looking ??= countFiles(join(this.#stateDirectory, 'conflicts'), this.#mostEntries)
      .catch(() => undefined)
      .then((files) => {
        this.#conflicts = files;
        this.#looking = undefined;
      });
    return this.#looking;
  }
}

/** Ignores a record that is left from another repository. */
function expiryOf(
  { looked_at, token_expires_at }: z.infer<typeof githubQuery>,
  { finished_at }: ReportOfInit,
): number | undefined {
  if (token_expires_at === undefined) return undefined;
  const isOfThatRun = Date.parse(finished_at) - Date.parse(looked_at) <= oldestLook;
  return isOfThatRun ? Date.parse(token_expires_at) : undefined;
}

/** Everything that is not a directory counts as a file; undefined if `root` is not a directory. */
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
