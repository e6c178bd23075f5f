/**
 * What the init that stays must know after a restart: the commits that it has received from the git
 * server, and the commit with which no worker starts.
 * Invariants: the file is on the volume, where the CLI can write too. So its proof is made with the
 * git token, which only init has; a file without a valid proof is set aside and never used. A file
 * that cannot be written costs nothing but the memory of the next start. Without a token nothing is
 * recorded. Deleting the file is how an operator has the bad commit tried again.
 */
import { createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { asBerthError, messageOf } from '../../shared/errors.ts';
import { writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { openAside } from '../../shared/set-aside.ts';
import { readVersioned } from '../../shared/versioned-file.ts';
import type { InitConfig } from '../config.ts';
import { receivedCommitsFile } from '../volume/record.ts';

const commit = z.string().regex(/^[0-9a-f]{40}$/);
const mostCommits = 1_000;
const largest = 64 * 1024;
const longestReason = 4_096;

const badCommit = z.object({
  commit,
  /** The commit that the volume has instead. */
  last_good_commit: commit,
  reason: z.string().max(longestReason),
  /** ISO 8601 */
  since: z.iso.datetime(),
});
export type BadCommit = z.infer<typeof badCommit>;

const content = z.object({
  version: z.literal(1),
  repository: z.string().max(2_048),
  directory: z.string().max(4_096).nullable(),
  /** Oldest first. */
  received: z.array(commit).max(mostCommits),
  bad: badCommit.optional(),
});
const file = content.extend({ proof: z.string().regex(/^[0-9a-f]{64}$/) });

type Place = Pick<
  InitConfig,
  'stateDirectory' | 'repository' | 'directory' | 'token' | 'githubApp'
>;

const derive = promisify(pbkdf2);
/** A token may be a password of a person: guessing it from a proof must cost as much as a log-in. */
const iterations = 100_000;

export class ReceivedCommits {
  readonly #log: Log;
  readonly #received = new Set<string>();
  #bad: BadCommit | undefined;
  #key: { secret: string; bytes: Buffer } | undefined;
  /** The file holds the bad commit. */
  #isRecorded = false;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Reads the file of earlier runs. */
  async load(place: Place): Promise<void> {
    const read = await readVersioned(pathOf(place), file, largest).catch((error: unknown) => {
      if (asBerthError(error).code !== 'volume_damaged') throw error;
      // Tools can write the file: no version of it may keep init from starting.
      return { kind: 'damaged' as const, reason: messageOf(error) };
    });
    if (read.kind === 'absent') return;
    if (read.kind === 'damaged') return this.#setAside(place, read.reason);
    const { proof, ...rest } = read.value;
    const own = await this.#prove(place, rest);
    if (own === undefined || !timingSafeEqual(Buffer.from(own, 'hex'), Buffer.from(proof, 'hex'))) {
      return this.#setAside(place, 'its proof was not made with the present git token');
    }
    const isOfPlace =
      rest.repository === place.repository.url && rest.directory === (place.directory ?? null);
    if (!isOfPlace) return;
    for (const one of rest.received) this.#received.add(one);
    this.#bad = rest.bad;
    this.#isRecorded = rest.bad !== undefined;
  }

  /** The commit with which no worker starts. */
  get bad(): BadCommit | undefined {
    return this.#bad;
  }

  /** Whether the server has sent this commit. Without a token this is unknown after a restart. */
  has(commit: string, place: Place): boolean {
    return this.#received.has(commit) || secretOf(place) === undefined;
  }

  /** Records a commit before it is written to the volume. */
  async add(commit: string, place: Place): Promise<void> {
    const isKnown = this.#received.has(commit) && this.#key?.secret === secretOf(place);
    if (isKnown && existsSync(pathOf(place))) return;
    this.#received.delete(commit);
    this.#received.add(commit);
    for (const oldest of this.#received) {
      if (this.#received.size <= mostCommits) break;
      this.#received.delete(oldest);
    }
    await this.#write(place);
  }

  /** Records the bad commit before the volume goes back. */
  async blame(bad: Omit<BadCommit, 'since'>, place: Place): Promise<void> {
    const since = new Date().toISOString();
    this.#bad = { ...bad, reason: bad.reason.slice(0, longestReason), since };
    this.#isRecorded = await this.#write(place);
  }

  /** The bad commit may be tried again. */
  async forget(place: Place): Promise<void> {
    if (!this.#bad) return;
    this.#bad = undefined;
    this.#isRecorded = false;
    await this.#write(place);
  }

  /** Whether an operator has deleted the record of the bad commit. */
  isDeleted(place: Place): boolean {
    return this.#isRecorded && !existsSync(pathOf(place));
  }

  async #write(place: Place): Promise<boolean> {
    const { repository, directory = null } = place;
    const rest: z.infer<typeof content> = {
      version: 1,
      repository: repository.url,
      directory,
      received: [...this.#received],
      ...(this.#bad ? { bad: this.#bad } : {}),
    };
    try {
      const proof = await this.#prove(place, rest);
      if (proof === undefined) return false;
      await writeFileAtomic(pathOf(place), JSON.stringify({ ...rest, proof }), { mode: 0o600 });
      return true;
    } catch (error) {
      const text =
        'cannot record the received commits; after a restart a bad commit is tried again';
      this.#log.warn('commits_unrecorded', text, { error });
      // Its absence is no wish of an operator then.
      this.#isRecorded = false;
      // An old record would hold back a commit that is good now.
      await rm(pathOf(place), { force: true }).catch(() => undefined);
      return false;
    }
  }

  async #prove(place: Place, value: z.infer<typeof content>): Promise<string | undefined> {
    const secret = secretOf(place);
    if (secret === undefined) return undefined;
    if (this.#key?.secret !== secret) {
      const bytes = await derive(secret, 'berth received commits', iterations, 32, 'sha256');
      this.#key = { secret, bytes };
    }
    // The schema gives each object one order of its keys.
    const text = JSON.stringify(content.parse(value));
    return createHmac('sha256', this.#key.bytes).update(text).digest('hex');
  }

  async #setAside(place: Place, why: string): Promise<void> {
    const quarantine = openAside(join(place.stateDirectory, 'quarantine'), 'sync');
    const saved = await quarantine.save(pathOf(place), receivedCommitsFile);
    const text =
      'the record of the received commits is not used and is moved to quarantine; a bad commit that it named is tried again';
    this.#log.warn('commits_set_aside', text, { why, saved });
  }
}

function pathOf({ stateDirectory }: Place): string {
  return join(stateDirectory, receivedCommitsFile);
}

/** What init has and the runtime container has not. */
function secretOf({ token, githubApp }: Place): string | undefined {
  return token ?? githubApp?.privateKey;
}
