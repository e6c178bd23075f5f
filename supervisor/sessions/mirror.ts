/**
 * Copies the transcripts of sessions to a store that all replicas share, and makes a session of a lost replica exist here.
 * Invariants: a copy is the beginning of the transcript, in whole lines when it is read; what becomes too large is removed. A
 * session that another replica has continued is not copied any more. A failure harms no prompt; a copy that failed is tried
 * again until it succeeds.
 * What is read from the store is untrusted: the record is parsed, and the id alone decides which file is written.
 */
import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { BerthError, messageOf, systemCode } from '../../shared/errors.ts';
import { makeDirectories, obstructedParent, writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { SerialQueue } from '../../shared/serial-queue.ts';
import { pause } from '../../shared/waiting.ts';
import { projectDirectory } from '../claude/project-directory.ts';
import { keyOf } from './session-files.ts';
import { parseRecord, type SessionRecord } from './session-record.ts';
import type { SessionStore } from './session-store.ts';
import { readLines } from './transcript-lines.ts';
import type { Transcripts } from './transcripts.ts';
import type { Workspaces } from './workspaces.ts';

/** What of a transcript is added to its copy. */
export interface MirrorPart {
  /** In lower case. */
  id: string;
  /** The record of the session, as JSON. */
  record: string;
  /** The byte at which the part begins; 0 replaces the copy. */
  from: number;
  lines: Buffer;
}

export interface TakenCopy {
  record: string;
  transcript: string;
  /** The replica had the session before. */
  isOwn: boolean;
}

/**
 * `here`: the session was on this volume already. `adopted`: the copy of its transcript is here now. `later`: another replica
 * has the session, or the copy cannot be read or written now.
 */
export type Adoption = 'here' | 'adopted' | 'none' | 'later';

/** Where the copies are. All methods reject with BerthError while the store cannot be reached. */
export interface MirrorStore {
  /**
   * @returns `kept`; `gap` if the copy does not end at `from`; `elsewhere` if another replica has continued the session;
   *   `no room` if there may not be so many bytes: nothing of the session is kept then
   */
  add(part: MirrorPart): Promise<'kept' | 'gap' | 'elsewhere' | 'no room'>;
  /** @returns the bytes of the copy; undefined if there is none of this replica */
  size(id: string): Promise<number | undefined>;
  /** Gives a session to this replica. @returns `none` without a copy; `lives` if another replica has it and lives */
  take(id: string): Promise<TakenCopy | 'none' | 'lives'>;
  /** Removes the copy, unless another replica has continued the session. */
  remove(id: string): Promise<void>;
}

export interface SessionMirrorOptions {
  kept: MirrorStore;
  sessions: Pick<SessionStore, 'read' | 'write' | 'isBeingRemoved' | 'isRemoved' | 'readmit'>;
  transcripts: Pick<Transcripts, 'find'>;
  workspaces: Pick<Workspaces, 'shared' | 'pathOf'>;
  /** The CLI's configuration directory. */
  configDirectory: string;
  /** The most bytes of one transcript. */
  longest: number;
  log: Log;
  /** Milliseconds after which a transcript is checked again: the CLI writes its last lines after the answer. */
  lag?: number;
  /** Milliseconds after which copies that failed are tried again. */
  retry?: number;
}

/** Sessions whose copy is known here. */
const mostKnown = 10_000;
/** Bytes of one step. */
const step = 1024 ** 2;

export class SessionMirror {
  readonly #options: SessionMirrorOptions;
  readonly #copying = new SerialQueue();
  readonly #stopping = new AbortController();
  /** The bytes of each copy, of the sessions that were used last; infinite: the session is not copied any more. */
  readonly #copied = new LRUCache<string, number>({ max: mostKnown });
  /** Sessions that wait for a copy. */
  readonly #waiting = new Set<string>();
  /** Sessions whose last copy failed. */
  readonly #missed = new Set<string>();
  #retrying = false;
  readonly #later = new Set<Promise<void>>();
  readonly #adopting = new Map<string, Promise<Adoption>>();
  #failing = false;

  constructor(options: SessionMirrorOptions) {
    this.#options = options;
  }

  /** Copies what is new in the session's transcript, in the background. Call it when a turn has ended. */
  note(id: string): void {
    const key = keyOf(id);
    if (key === undefined || this.#stopping.signal.aborted) return;
    this.#copySoon(key);
    const again = pause(this.#options.lag ?? 1_500, this.#stopping.signal)
      .then(() => this.#copySoon(key))
      .finally(() => this.#later.delete(again));
    this.#later.add(again);
  }

  /**
   * Makes a session of a lost replica exist here, with its transcript. What another replica continued replaces an older
   * transcript of this one. Never rejects.
   */
  adopt(id: string): Promise<Adoption> {
    const key = keyOf(id);
    if (key === undefined) return Promise.resolve('none');
    const known = this.#adopting.get(key);
    if (known) return known;
    const adopting = this.#adopt(key)
      .catch((error: unknown): Adoption => {
        this.#failed('cannot continue the session of a lost replica', key, error);
        return mayWorkLater(error) ? 'later' : 'none';
      })
      .finally(() => this.#adopting.delete(key));
    this.#adopting.set(key, adopting);
    return adopting;
  }

  /** Removes the copy of a session that was removed, in the background. */
  forget(id: string): void {
    const key = keyOf(id);
    if (key === undefined) return;
    void this.#copying.add(async () => {
      this.#copied.delete(key);
      this.#missed.delete(key);
      await this.#options.kept.remove(key).catch(() => undefined);
    });
  }

  /** Copies what waits. Call it before the store is closed. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.allSettled(this.#later);
    await this.#copying.idle();
  }

  #copySoon(key: string): void {
    if (this.#waiting.has(key)) return;
    this.#waiting.add(key);
    void this.#copying.add(async () => {
      this.#waiting.delete(key);
      await this.#attempt(key);
    });
  }

  /** @returns whether the copy is complete; never rejects */
  async #attempt(key: string): Promise<boolean> {
    // A store that does not answer must not hold up the end of berth once for each session.
    if (this.#failing && this.#stopping.signal.aborted) return false;
    try {
      await this.#copy(key);
      this.#failing = false;
      this.#missed.delete(key);
      return true;
    } catch (error) {
      this.#copied.delete(key);
      // A session that fails alone, because of its file, is logged once.
      if (!this.#missed.has(key)) {
        if (!this.#failing) this.#failed('cannot copy the transcript of a session', key, error);
        this.#failing = true;
      }
      // To the end: the next try begins with another session.
      this.#missed.delete(key);
      this.#missed.add(key);
      this.#retryLater();
      return false;
    }
  }

  /** A session whose last turn ended in an outage of the store has no later turn that would copy it. */
  #retryLater(): void {
    const { signal } = this.#stopping;
    if (this.#retrying || signal.aborted) return;
    this.#retrying = true;
    const retry = pause(this.#options.retry ?? 30_000, signal)
      .then(() => this.#copying.add(() => this.#copyMissed()))
      .finally(() => {
        this.#later.delete(retry);
        this.#retrying = false;
        if (this.#missed.size > 0) this.#retryLater();
      });
    this.#later.add(retry);
  }

  /** Ends at the first failure of several: a store that is away costs one time-out, and not one for each session. */
  async #copyMissed(): Promise<void> {
    for (const key of [...this.#missed]) if (!(await this.#attempt(key))) return;
  }

  async #copy(key: string): Promise<void> {
    const { sessions, transcripts, kept, longest, log } = this.#options;
    const record = await sessions.read(key);
    const path = record && (await transcripts.find(record.id));
    if (!record || path === undefined) return;
    for (let tries = 0; tries < 3; tries++) {
      const from = this.#copied.get(key) ?? (tries === 0 ? await kept.size(key) : 0) ?? 0;
      if (from === Number.POSITIVE_INFINITY) return;
      const read = await readLines(path, from, longest);
      if (read === 'too long') {
        const text = `a transcript has more than ${longest} bytes: it is not copied to Redis any more`;
        log.warn('session_unmirrored', text, { session_id: record.id });
        this.#copied.set(key, Number.POSITIVE_INFINITY);
        return kept.remove(key);
      }
      if (read === 'shorter') {
        this.#copied.delete(key);
        continue;
      }
      if (read.length === 0) return;
      const added = await this.#add(key, JSON.stringify(record), from, read);
      if (added === 'gap') this.#copied.delete(key);
      else return;
    }
  }

  async #add(key: string, record: string, from: number, lines: Buffer) {
    const { kept, log } = this.#options;
    for (let at = 0; at < lines.length; at += step) {
      const part = lines.subarray(at, at + step);
      const added = await kept.add({ id: key, record, from: from + at, lines: part });
      if (added === 'gap') return added;
      if (added !== 'kept') {
        const why = {
          elsewhere: 'another replica has continued it',
          'no room': 'there is no room',
        };
        const text = `the transcript of a session is not copied to Redis any more: ${why[added]}`;
        log.warn('session_unmirrored', text, { session_id: key });
        this.#copied.set(key, Number.POSITIVE_INFINITY);
        return added;
      }
    }
    this.#copied.set(key, from + lines.length);
    return 'kept';
  }

  async #adopt(key: string): Promise<Adoption> {
    const { kept, sessions, workspaces, log } = this.#options;
    const own = await sessions.read(key);
    // Nothing can be written for such a session, and what is taken now cannot be given back.
    if (sessions.isBeingRemoved(key)) return 'later';
    const found = await kept.take(key);
    if (found === 'lives') return 'later';
    if (own && (found === 'none' || found.isOwn)) return 'here';
    if (found === 'none') return 'none';
    if (!found.isOwn) {
      // This replica may have removed its old state.
      sessions.readmit(key);
    } else if (sessions.isRemoved(key)) {
      // The copy could not be removed with its session.
      this.forget(key);
      return 'none';
    }
    const { shared } = workspaces;
    const record = recordOf(found.record, shared.path, key);
    const { mode } = record.working_directory;
    const path = workspaces.pathOf(record.working_directory);
    const directory = path === undefined ? shared : { path, mode };
    // A copy that was cut off ends in the middle of a line.
    const transcript = found.transcript.slice(0, found.transcript.lastIndexOf('\n') + 1);
    await this.#writeTranscript(directory.path, record.id, transcript);
    await sessions.write({ ...record, working_directory: directory });
    log.info('session_adopted', 'this replica took over a session of a lost replica', {
      session_id: record.id,
      token: record.token,
      profile: record.profile,
      bytes: Buffer.byteLength(transcript),
    });
    // The file of this replica is the one that is copied from now on.
    this.#copied.delete(key);
    return (await sessions.read(key)) ? 'adopted' : 'later';
  }

  async #writeTranscript(workingDirectory: string, id: string, text: string): Promise<void> {
    const { configDirectory } = this.#options;
    await makeDirectories(workingDirectory, 0o700);
    const relative = `projects/${projectDirectory(await realpath(workingDirectory))}/${id}.jsonl`;
    const obstructed = await obstructedParent(configDirectory, relative);
    if (obstructed !== undefined) throw new Error(`${obstructed} is no directory`);
    await writeFileAtomic(join(configDirectory, relative), text);
  }

  #failed(text: string, session_id: string, error: unknown): void {
    if (this.#stopping.signal.aborted) return;
    const cause = messageOf(error);
    this.#options.log.warn('session_unmirrored', `${text}: ${cause}`, { session_id });
  }
}

/** @throws Error if the text is not the record of this session */
function recordOf(text: string, shared: string, key: string): SessionRecord {
  try {
    const record = parseRecord(text, shared);
    if (keyOf(record.id) === key) return record;
  } catch (error) {
    throw new Error(`the record cannot be read: ${messageOf(error)}`);
  }
  throw new Error('the record is that of another session');
}

/** Whether the copy may be usable later: Redis or the disk failed, and not the copy. */
function mayWorkLater(error: unknown): boolean {
  if (error instanceof BerthError) return error.code !== 'internal';
  return systemCode(error) !== undefined;
}
