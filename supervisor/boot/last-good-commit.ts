/**
 * Knows the commit of the configuration that the workers run with (from init's report), and the
 * commit with which a worker of each profile last became ready. If workers stop starting, the
 * difference is the first suspect.
 * Invariants: both files are untrusted (the CLI can write them), so they are parsed and bounded.
 * Only text with the shape of a commit or of a repository name is shown.
 */
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import { BerthError } from '../../shared/errors.ts';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { SerialQueue } from '../../shared/serial-queue.ts';
import { reportFile } from '../../shared/state-directory.ts';

const commitOf = z.object({
  repository: z.string().regex(/^[\w.:/-]{1,300}$/),
  commit: z.string().regex(/^[0-9a-f]{40}$/),
});

type Commit = z.infer<typeof commitOf>;

const report = z.looseObject({ version: z.literal(1), ...commitOf.shape });

const goodCommits = z.object({
  version: z.literal(1),
  /** By the name of the profile. */
  profiles: z.record(z.string().max(128), commitOf),
});

/** In berth's state. */
export const goodCommitsFile = 'good-commits.json';
const largestReport = 256 * 1024;
const largestRecord = 64 * 1024;
const mostProfiles = 128;

export class LastGoodCommit {
  readonly #stateDirectory: string;
  readonly #log: Log;
  #current: Commit | undefined;
  /** By the name of the profile. */
  readonly #good = new LRUCache<string, Commit>({ max: mostProfiles });
  readonly #writes = new SerialQueue();

  constructor(stateDirectory: string, log: Log) {
    this.#stateDirectory = stateDirectory;
    this.#log = log;
  }

  /** Reads the files of init and of earlier runs; an absent file means unknown. */
  async load(): Promise<void> {
    this.#current = commitOf.safeParse(await this.#read(reportFile, largestReport, report)).data;
    const known = await this.#read(goodCommitsFile, largestRecord, goodCommits);
    for (const [profile, commit] of Object.entries(known?.profiles ?? {})) {
      this.#good.set(profile, commit);
    }
  }

  /** The commit on the volume; undefined if it is unknown. */
  get current(): string | undefined {
    return this.#current?.commit;
  }

  /** Records that a worker of the profile is ready: the commit is good for the profile. */
  ready(profile: string): void {
    const good = this.#good.get(profile);
    if (!this.#current || (good && isSame(good, this.#current))) return;
    this.#good.set(profile, this.#current);
    void this.#writes.add(() => this.#write());
  }

  /**
   * Adds the commit since which starts fail to an error of a start, if it differs from the last
   * good commit.
   */
  explain(profile: string, error: BerthError): BerthError {
    const since = this.since(profile);
    if (!since) return error;
    const { commit, lastGood } = since;
    return new BerthError(
      error.code,
      `${error.message}; starts fail since commit ${nameOf(commit, lastGood)} (last good ${nameOf(lastGood, commit)}) of the .claude repository: check the changes of this commit, or revert it`,
      {
        cause: error.cause,
        details: { ...error.details, commit: commit.commit, last_good_commit: lastGood.commit },
      },
    );
  }

  /**
   * Undefined if no worker of the profile was ever ready, or one was ready with the current commit.
   */
  since(profile: string): { commit: Commit; lastGood: Commit } | undefined {
    const lastGood = this.#good.get(profile);
    if (!this.#current || !lastGood || isSame(lastGood, this.#current)) return undefined;
    return { commit: this.#current, lastGood };
  }

  /** Resolves when the record is on the volume, or could not be written. */
  flush(): Promise<void> {
    return this.#writes.idle();
  }

  async #read<T>(name: string, limit: number, schema: z.ZodType<T>): Promise<T | undefined> {
    try {
      const content = await readFileBounded(join(this.#stateDirectory, name), limit);
      return content && schema.parse(JSON.parse(content.toString('utf8')));
    } catch {
      // Only a hint: without it an error does not name the commit.
      return undefined;
    }
  }

  async #write(): Promise<void> {
    const text = JSON.stringify({
      version: 1,
      profiles: Object.fromEntries(this.#good.rentries()),
    });
    const path = join(this.#stateDirectory, goodCommitsFile);
    try {
      await writeFileAtomic(path, text, { mode: 0o600 });
    } catch (error) {
      this.#log.warn(
        'commit_unrecorded',
        'cannot record the last good commit; it is unknown after a restart',
        {
          error,
        },
      );
    }
  }
}

function isSame(one: Commit, other: Commit): boolean {
  return one.commit === other.commit && one.repository === other.repository;
}

/** The short commit, with its repository if the two repositories differ. */
function nameOf({ commit, repository }: Commit, other: Commit): string {
  const short = commit.slice(0, 7);
  return repository === other.repository ? short : `${short} of ${repository}`;
}
