/**
 * Who owns which session, and what it has used: an index in memory, brought to the volume behind it, so
 * that a session outlives the process that served it. The conversation itself is the CLI's transcript.
 * Always holds: ids that differ in case alone are the same; a read sees the newest figures, durable or
 * not yet; a session has one write under way at most, and what changes meanwhile is one more write;
 * what was removed does not come back by a late write.
 */
import { LRUCache } from 'lru-cache';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { keyOf, SessionFiles } from './session-files.ts';
import { addUsage, type SessionRecord } from './session-record.ts';

export interface StoreOptions {
  /** berth's state on the volume. */
  stateDirectory: string;
  /** Where sessions of records without a directory ran. */
  sharedDirectory: string;
  log: Log;
  /** Milliseconds between a change of figures and its write. */
  writeDelay?: number;
  /** Records in memory at most: those that were used last. Others are read when asked for. */
  most?: number;
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
  /** Those that this program has not written yet: somebody else's file may be there. */
  readonly #unwritten = new Set<string>();
  /** Writes under way. */
  readonly #writes = new Map<string, Promise<void>>();
  /** The last that were removed, or are being removed. */
  readonly #removed = new LRUCache<string, true>({ max: mostRemoved });
  #timer: NodeJS.Timeout | undefined;
  #draining: Promise<void> | undefined;
  #failing = false;
  #loaded: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: StoreOptions) {
    this.#files = new SessionFiles(options.stateDirectory, options.sharedDirectory, options.log);
    this.#log = options.log;
    this.#writeDelay = options.writeDelay ?? 1_000;
    this.#index = new LRUCache({
      max: options.most ?? mostInMemory,
      dispose: (_record, key, reason) => {
        if (reason === 'evict') this.#forgetChange(key);
      },
    });
  }

  /**
   * Reads what is on the volume into memory; meanwhile the store can be used. Call it once.
   * @returns how many files could not be read as records
   * @throws the signal's reason
   */
  open(signal?: AbortSignal): Promise<number> {
    const opening = this.#load(signal);
    this.#loaded = opening.then(
      () => undefined,
      () => undefined,
    );
    return opening;
  }

  /** Resolves when `open` is over, however: until then not all are in memory. */
  get loaded(): Promise<void> {
    return this.#loaded;
  }

  async #load(signal: AbortSignal | undefined): Promise<number> {
    const records: SessionRecord[] = [];
    let unreadable = 0;
    const keys = await this.#files.keys();
    const readNext = async (): Promise<void> => {
      for (let key = keys.pop(); key !== undefined; key = keys.pop()) {
        signal?.throwIfAborted();
        const record = await this.#files.read(key);
        if (record) records.push(record);
        else unreadable += 1;
      }
    };
    // Few at once: prompts need the threads that read files too.
    await Promise.all(Array.from({ length: lanes }, readNext));
    records.sort((one, other) => compareUse(other, one));
    // What was used since is newer than what was read, and was used last.
    const used = this.#index.dump();
    this.#index.clear();
    for (const record of records.slice(-this.#index.max)) {
      const key = record.id.toLowerCase();
      if (!this.#removed.has(key)) this.#index.set(key, record);
    }
    for (const [key, { value }] of used) this.#index.set(key, value);
    return unreadable;
  }

  /** How many are in memory. */
  get size(): number {
    return this.#index.size;
  }

  /** Those in memory, in no order that counts. */
  get records(): Iterable<SessionRecord> {
    return this.#index.values();
  }

  /** Every session, those that are not in memory too. */
  async *all(): AsyncGenerator<SessionRecord> {
    for (const key of await this.#files.keys()) {
      if (this.#removed.has(key)) continue;
      const record = this.#index.peek(key) ?? (await this.#files.read(key));
      if (record) yield record;
    }
  }

  /** Of those in memory; undefined too for one that is being removed. */
  peek(id: string): SessionRecord | undefined {
    const key = keyOf(id);
    return key === undefined ? undefined : this.#index.peek(key);
  }

  /** Undefined if there is none, or none that can be read. Its `id` is written as the CLI wrote it. */
  async read(id: string): Promise<SessionRecord | undefined> {
    const key = keyOf(id);
    if (key === undefined || this.#removed.has(key)) return undefined;
    const known = this.#index.get(key);
    if (known) return known;
    const record = await this.#files.read(key);
    // It may have been written or removed meanwhile.
    if (this.#removed.has(key)) return undefined;
    if (record && !this.#index.has(key)) this.#index.set(key, record);
    return this.#index.get(key);
  }

  /**
   * Notes a session, new or not; resolves when this record, or a newer one, is durable.
   * @throws BerthError `volume_unwritable`, then a new one is not there; `internal` if the id is no UUID
   */
  async write(record: SessionRecord): Promise<void> {
    const key = keyOf(record.id);
    if (key === undefined) {
      throw new BerthError(
        'internal',
        `cannot record the session ${JSON.stringify(record.id.slice(0, 64))}: its id is no UUID; see which version of the CLI runs`,
      );
    }
    if (this.#removed.has(key)) return;
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

  /** Notes new figures of a session, which are brought to the volume soon, many turns in one write. */
  note(record: SessionRecord): void {
    const key = keyOf(record.id);
    if (key === undefined || this.#removed.has(key)) return;
    this.#index.set(key, record);
    if (this.#stopped) return;
    this.#changed.add(key);
    this.#timer ??= setTimeout(() => void this.#writeChanged(), this.#writeDelay).unref();
  }

  /** Adds what a session has used beside its turns, when a background task of it ended. */
  spend(id: string, costUsd: number, usage: SessionRecord['usage']): void {
    const record = this.peek(id);
    if (!record) return;
    const cost_usd = record.cost_usd + costUsd;
    this.note({ ...record, cost_usd, usage: addUsage(record.usage, usage) });
  }

  /** From now on the session is not there, for whoever reads; its file still is, until `remove`. */
  hide(id: string): void {
    const key = keyOf(id);
    if (key === undefined) return;
    this.#drop(key);
    this.#removed.set(key, true);
  }

  /** Undoes `hide`, for a removal that failed. */
  show(record: SessionRecord): void {
    const key = keyOf(record.id);
    if (key === undefined) return;
    this.#removed.delete(key);
    this.#index.set(key, record);
  }

  /** @throws BerthError `volume_unwritable` */
  async remove(id: string): Promise<void> {
    const key = keyOf(id);
    if (key === undefined) return;
    this.hide(id);
    await this.#writes.get(key)?.catch(() => undefined);
    await this.#files.remove(key);
  }

  /** Resolves when all that was noted is durable, or could not be written. */
  async flush(): Promise<void> {
    await this.#draining;
    await this.#writeChanged();
    await Promise.allSettled(this.#writes.values());
  }

  /** Brings everything to the volume, which is not written to afterwards. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.flush();
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

  /** One at a time: at thousands of turns a second the volume has one fsync to do. */
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
        if (this.#failing) continue;
        this.#failing = true;
        this.#log.error('session_unrecorded', "cannot bring a session's figures up to date", {
          session_id: key,
          error,
        });
      }
    }
  }

  /** Resolves when what the index has now, or something newer, is durable. */
  async #persist(key: string): Promise<void> {
    await this.#writes.get(key)?.catch(() => undefined);
    // Whoever waited beside may have begun the next, or have ended it.
    if (!this.#changed.has(key)) return this.#writes.get(key);
    const writing = this.#writeNewest(key).finally(() => this.#writes.delete(key));
    this.#writes.set(key, writing);
    return writing;
  }

  async #writeNewest(key: string): Promise<void> {
    const record = this.#index.get(key);
    if (!record) return;
    this.#changed.delete(key);
    try {
      if (this.#unwritten.has(key)) await this.#files.assertNotNewer(key);
      await this.#files.write(key, record);
      this.#unwritten.delete(key);
    } catch (error) {
      if (this.#index.has(key)) this.#changed.add(key);
      throw error;
    }
  }
}

type Used = Pick<SessionRecord, 'last_used_at' | 'id'>;

/** For sorting: the one that was used last comes first. */
export function compareUse(one: Used, other: Used): number {
  const order = Date.parse(other.last_used_at) - Date.parse(one.last_used_at);
  if (Number.isFinite(order) && order !== 0) return order;
  return one.id < other.id ? 1 : one.id > other.id ? -1 : 0;
}
