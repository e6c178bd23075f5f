/**
 * The owner and the figures of each session: an index in memory that is written to the volume in
 * the background, so that a session outlives its process. The conversation itself is the CLI's
 * transcript.
 * Invariants: ids that differ only in case are the same. A read returns the newest figures, durable
 * or not. A session has at most one running write; changes meanwhile are one more write. A removed
 * session does not return through a late write, but only by `readmit`.
 */
import { LRUCache } from 'lru-cache';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { keyOf, SessionFiles } from './session-files.ts';
import { addUsage, type SessionRecord } from './session-record.ts';

export interface StoreOptions {
  /** berth's state on the volume. */
  stateDirectory: string;
  /** Where the sessions of records without a directory ran. */
  sharedDirectory: string;
  log: Log;
  /** Milliseconds between a change of figures and its write. */
  writeDelay?: number;
  /** The maximum number of records in memory: the most recently used. Others are read on demand. */
  most?: number;
}

/** What `open` read from the volume. */
export interface LoadedRecords {
  /** The number of files that could not be read as records. */
  unreadable: number;
  /** The working directory of each record; undefined if there is no directory of records. */
  directories: SessionRecord['working_directory'][] | undefined;
}

/** Some 20 MB. */
const mostInMemory = 20_000;
const mostRemoved = 1_000;
const lanes = 2;

export class SessionStore {
  readonly #files: SessionFiles;
  readonly #log: Log;
  readonly #writeDelay: number;
  /** By key: the records that were used last. */
  readonly #index: LRUCache<string, SessionRecord>;
  /** Those whose newest figures are not on the volume. */
  readonly #changed = new Set<string>();
  /** Keys that this program has not written yet: another program's file may exist. */
  readonly #unwritten = new Set<string>();
  /** Running writes. */
  readonly #writes = new Map<string, Promise<void>>();
  /** The last that were removed (`over`), or are being removed (`runs`). */
  readonly #removed = new LRUCache<string, 'runs' | 'over'>({ max: mostRemoved });
  /** The newest record of each session that is being removed. */
  readonly #hidden = new LRUCache<string, SessionRecord>({ max: mostRemoved });
  #complete = false;
  #timer: NodeJS.Timeout | undefined;
  #draining: Promise<void> | undefined;
  #failing = false;
  #loaded: Promise<void> = Promise.resolve();
  #stopped = false;
  #abandoned = false;

  constructor(options: StoreOptions) {
    this.#files = new SessionFiles(options.stateDirectory, options.sharedDirectory, options.log);
    this.#log = options.log;
    this.#writeDelay = options.writeDelay ?? 1_000;
    this.#index = new LRUCache({
      max: options.most ?? mostInMemory,
      dispose: (_record, key, reason) => {
        if (reason !== 'evict') return;
        this.#forgetChange(key);
        this.#complete = false;
      },
    });
  }

  /**
   * Reads the volume into memory; the store can be used meanwhile. Call this once.
   * @throws the signal's reason, or Error of the system if the directory of records cannot be read
   */
  open(signal?: AbortSignal): Promise<LoadedRecords> {
    const opening = this.#load(signal);
    this.#loaded = opening.then(
      () => undefined,
      () => undefined,
    );
    return opening;
  }

  /** Resolves when `open` has ended in any case: until then some records are not in memory. */
  get loaded(): Promise<void> {
    return this.#loaded;
  }

  async #load(signal: AbortSignal | undefined): Promise<LoadedRecords> {
    const records: SessionRecord[] = [];
    let unreadable = 0;
    const found = await this.#files.keys();
    const keys = found ?? [];
    const readNext = async (): Promise<void> => {
      for (let key = keys.pop(); key !== undefined; key = keys.pop()) {
        signal?.throwIfAborted();
        const record = await this.#files.read(key);
        if (record) records.push(record);
        else unreadable += 1;
      }
    };
    // Few at a time: prompts also need the threads that read files.
    await Promise.all(Array.from({ length: lanes }, readNext));
    records.sort((one, other) => compareUse(other, one));
    // A record that was used during the read is newer than the file, and was used last.
    const used = this.#index.dump();
    this.#index.clear();
    this.#complete = records.length <= this.#index.max;
    for (const record of records.slice(-this.#index.max)) {
      const key = record.id.toLowerCase();
      if (!this.#removed.has(key)) this.#index.set(key, record);
    }
    for (const [key, { value }] of used) this.#index.set(key, value);
    const directories = found && records.map(({ working_directory }) => working_directory);
    return { unreadable, directories };
  }

  /** The number of records in memory. */
  get size(): number {
    return this.#index.size;
  }

  /** Whether each readable record is in memory. */
  get complete(): boolean {
    return this.#complete;
  }

  /** The records in memory, in no particular order. */
  get records(): Iterable<SessionRecord> {
    return this.#index.values();
  }

  /**
   * Every session, including those that are not in memory.
   * @throws Error of the system if the directory of records cannot be read
   */
  async *all(): AsyncGenerator<SessionRecord> {
    for (const key of (await this.#files.keys()) ?? []) {
      if (this.#removed.has(key)) continue;
      const record = this.#index.peek(key) ?? (await this.#files.read(key));
      if (record) yield record;
    }
  }

  /** A record in memory; undefined for a session that is being removed. */
  peek(id: string): SessionRecord | undefined {
    const key = keyOf(id);
    return key === undefined ? undefined : this.#index.peek(key);
  }

  /** Undefined if there is no readable record. Its `id` is written as the CLI wrote it. */
  async read(id: string): Promise<SessionRecord | undefined> {
    const key = keyOf(id);
    if (key === undefined || this.#removed.has(key)) return undefined;
    const known = this.#index.get(key);
    if (known) return known;
    const record = await this.#files.read(key);
    // The session may have been written or removed meanwhile.
    if (this.#removed.has(key)) return undefined;
    if (record && !this.#index.has(key)) this.#index.set(key, record);
    return this.#index.get(key);
  }

  /**
   * Records a session; resolves when this record or a newer one is durable.
   * @throws BerthError `volume_unwritable`, `lease_held`, then a new session does not exist; `internal` if the id
   * is not a UUID
   */
  async write(record: SessionRecord): Promise<void> {
    const key = keyOf(record.id);
    if (key === undefined) {
      throw new BerthError(
        'internal',
        `cannot record the session ${JSON.stringify(record.id.slice(0, 64))}: its id is not a UUID; check the version of the CLI`,
      );
    }
    if (this.#removed.has(key)) return this.#noteHidden(key, record);
    const isNew = !this.#index.has(key);
    this.#index.set(key, record);
    this.#changed.add(key);
    if (isNew) this.#unwritten.add(key);
    try {
      await this.#persist(key);
    } catch (error) {
      if (isNew) this.#drop(key);
      throw error;
    }
  }

  /**
   * Records new figures of a session; they are written to the volume soon, many turns in one write.
   */
  note(record: SessionRecord): void {
    const key = keyOf(record.id);
    if (key === undefined) return;
    if (this.#removed.has(key)) {
      this.#noteHidden(key, record);
      return;
    }
    this.#index.set(key, record);
    if (this.#stopped) return;
    this.#changed.add(key);
    this.#timer ??= setTimeout(() => void this.#writeChanged(), this.#writeDelay).unref();
  }

  /** Adds the usage of a turn without a prompt, such as the end of a background task. */
  spend(id: string, costUsd: number, usage: SessionRecord['usage']): void {
    const key = keyOf(id);
    const record = key === undefined ? undefined : (this.peek(id) ?? this.#hidden.peek(key));
    if (!record) return;
    const cost_usd = record.cost_usd + costUsd;
    this.note({ ...record, cost_usd, usage: addUsage(record.usage, usage) });
  }

  /** From now on the session does not exist for readers; its file exists until `remove`. */
  hide(id: string): void {
    const key = keyOf(id);
    if (key === undefined) return;
    const record = this.#index.peek(key);
    if (record) this.#hidden.set(key, record);
    this.#drop(key);
    this.#removed.set(key, 'runs');
  }

  /** The turns that a removal interrupts are still counted, in case the removal fails. */
  #noteHidden(key: string, record: SessionRecord): void {
    if (this.#hidden.has(key)) this.#hidden.set(key, record);
  }

  /**
   * Undoes `hide`, for a removal that failed: with what was recorded since.
   * @param record for a session that was not in memory
   */
  show(record: SessionRecord): void {
    const key = keyOf(record.id);
    if (key === undefined) return;
    const newest = this.#hidden.peek(key) ?? record;
    this.#hidden.delete(key);
    this.#removed.delete(key);
    this.note(newest);
  }

  /** @throws BerthError `volume_unwritable` */
  async remove(id: string): Promise<void> {
    const key = keyOf(id);
    if (key === undefined) return;
    this.hide(id);
    await this.#writes.get(key)?.catch(() => undefined);
    if (!this.#abandoned) await this.#files.remove(key);
    this.#hidden.delete(key);
    this.#removed.set(key, 'over');
  }

  /** Whether a removal has begun that has not succeeded yet. */
  isBeingRemoved(id: string): boolean {
    const key = keyOf(id);
    return key !== undefined && this.#removed.peek(key) === 'runs';
  }

  /** Whether this process has removed the session. */
  isRemoved(id: string): boolean {
    const key = keyOf(id);
    return key !== undefined && this.#removed.peek(key) === 'over';
  }

  /** Lets a removed session be written again, because another replica has continued it; without effect while a removal runs. */
  readmit(id: string): void {
    const key = keyOf(id);
    if (key !== undefined && !this.isBeingRemoved(id)) this.#removed.delete(key);
  }

  /** Resolves when all recorded figures are durable, or could not be written. */
  async flush(): Promise<void> {
    await this.#draining;
    await this.#writeChanged();
    await Promise.allSettled(this.#writes.values());
  }

  /** Writes everything to the volume; nothing is written afterwards. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.flush();
    clearTimeout(this.#timer);
  }

  /** From now on nothing is written, also nothing that was recorded before. */
  abandon(): void {
    this.#stopped = true;
    this.#abandoned = true;
    this.#changed.clear();
    clearTimeout(this.#timer);
  }

  #drop(key: string): void {
    this.#index.delete(key);
    this.#forgetChange(key);
  }

  #forgetChange(key: string): void {
    this.#changed.delete(key);
    this.#unwritten.delete(key);
  }

  /** One at a time: at thousands of turns a second the volume has one fsync at a time. */
  #writeChanged(): Promise<void> {
    clearTimeout(this.#timer);
    this.#draining ??= this.#drain().finally(() => {
      this.#draining = undefined;
      this.#timer = undefined;
      if (this.#changed.size === 0 || this.#stopped) return;
      const pause = this.#failing ? this.#writeDelay * 10 : this.#writeDelay;
      this.#timer = setTimeout(() => void this.#writeChanged(), pause).unref();
    });
    return this.#draining;
  }

  async #drain(): Promise<void> {
    for (const key of [...this.#changed]) {
      try {
        await this.#persist(key);
        this.#failing = false;
      } catch (error) {
        if (this.#failing || this.#abandoned) continue;
        this.#failing = true;
        this.#log.error('session_unrecorded', "cannot write a session's figures", {
          session_id: key,
          error,
        });
      }
    }
  }

  /** Resolves when the current record of the index, or a newer one, is durable. */
  async #persist(key: string): Promise<void> {
    await this.#writes.get(key)?.catch(() => undefined);
    // Another waiter may have begun the next write, or have finished it.
    if (!this.#changed.has(key)) return this.#writes.get(key);
    const writing = this.#writeNewest(key).finally(() => this.#writes.delete(key));
    this.#writes.set(key, writing);
    return writing;
  }

  async #writeNewest(key: string): Promise<void> {
    const record = this.#index.get(key);
    if (!record || this.#abandoned) return;
    this.#changed.delete(key);
    try {
      if (this.#unwritten.has(key)) await this.#files.assertNotNewer(key);
      await this.#files.write(key, record, () => !this.#abandoned);
      this.#unwritten.delete(key);
    } catch (error) {
      if (this.#index.has(key) && !this.#abandoned) this.#changed.add(key);
      throw error;
    }
  }
}

type Used = Pick<SessionRecord, 'last_used_at' | 'id'>;

/** Compares for sorting: the most recently used comes first. */
export function compareUse(one: Used, other: Used): number {
  const order = Date.parse(other.last_used_at) - Date.parse(one.last_used_at);
  if (Number.isFinite(order) && order !== 0) return order;
  return one.id < other.id ? 1 : one.id > other.id ? -1 : 0;
}
