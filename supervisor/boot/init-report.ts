/**
 * What init has reported of its run before this start, and how many local copies wait in `conflicts/`
 * for a person.
 * Always holds: all of it is untrusted (the CLI can write it), so it is parsed, bounded and never
 * followed out of the volume; what cannot be read is told as unknown, and nothing waits for it.
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
    /** How the volume was found. */
    volume: z.string().regex(/^[a-z_]{1,40}$/),
    /** `failed`: the run went on with what was on the volume, without the git server. */
    remote: z.enum(['current', 'failed']),
    /** Why nothing of the commit takes effect, for a person: a stranger's text. */
    problem: z.string().max(4_096).optional().catch(undefined),
    /** When the git server last confirmed the commit. */
    confirmed_at: z.iso.datetime(),
    finished_at: z.iso.datetime(),
    duration_ms: z.number().nonnegative(),
    /** How the wanted CLI came to be there; `previous`: it did not, and the one before it is used. */
    cli: z.enum(['present', 'installed', 'previous']).optional().catch(undefined),
    /** Of the commit's settings.json, if the CLI would ignore it; `kept`: the last good one is used. */
    settings: z.enum(['kept', 'invalid']).optional().catch(undefined),
    ...{ written: count, restored: count, merged: count, removed: count },
    ...{ kept: count, conflicts: count, drift: count, skipped: count },
  })
  .readonly();

export type ReportOfInit = z.infer<typeof report>;

/** What init remembers of its last look at GitHub. */
const githubLook = z.looseObject({
  version: z.literal(1),
  looked_at: z.iso.datetime(),
  token_expires_at: z.iso.datetime().optional(),
});

/** Milliseconds: where the repository is on GitHub, init looks at its token once a day at least. */
const oldestLook = 25 * 3_600_000;

const largestReport = 256 * 1024;

export class InitOutcome {
  readonly #stateDirectory: string;
  readonly #mostEntries: number;
  #report: ReportOfInit | undefined;
  #gitTokenExpiry: number | undefined;
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

  /** When init's git token ends, milliseconds since 1970; undefined where GitHub did not tell. */
  get gitTokenExpiry(): number | undefined {
    return this.#gitTokenExpiry;
  }

  /** Files in `conflicts/` at the last look; undefined before the first one and if it failed. */
  get conflicts(): number | undefined {
    return this.#conflicts;
  }

  /** Reads what is there; never rejects. */
  async load(): Promise<void> {
    this.#report = await this.#read(reportFile, report);
    const look = await this.#read(githubFile, githubLook);
    this.#gitTokenExpiry = this.#report && look && expiryOf(look, this.#report);
    await this.look();
  }

  async #read<T>(name: string, schema: z.ZodType<T>): Promise<T | undefined> {
    try {
      const content = await readFileBounded(join(this.#stateDirectory, name), largestReport);
      return content && schema.parse(JSON.parse(content.toString('utf8')));
    } catch {
      return undefined;
    }
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

/** Not of a look that is left from another repository. */
function expiryOf(
  { looked_at, token_expires_at }: z.infer<typeof githubLook>,
  { finished_at }: ReportOfInit,
): number | undefined {
  if (token_expires_at === undefined) return undefined;
  const isOfThatRun = Date.parse(finished_at) - Date.parse(looked_at) <= oldestLook;
  return isOfThatRun ? Date.parse(token_expires_at) : undefined;
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
