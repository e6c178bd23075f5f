/**
 * Knows which session has which history. The newest history of each session is also in the record of the session, so
 * it is known after a restart; earlier histories of a session are known in memory, and a fork continues them.
 * Invariants: a session whose record is gone is not found. One prompt at a time continues a session.
 */
import { LRUCache } from 'lru-cache';
import type { SessionRecord } from '../sessions/session-record.ts';

/** A history that a session has, or had before it continued. */
export interface Place {
  key: string;
  sessionId: string;
  /** When its last answer came, by performance.now(); 0 if that was before the start of berth. */
  at: number;
  /** The id with which the next prompt was sent; undefined at the end of the conversation. */
  next: string | undefined;
  /** Whether a prompt is about to continue the session. */
  claimed: boolean;
}

export interface KnownHistoriesOptions {
  store: {
    readonly loaded: Promise<void>;
    readonly records: Iterable<SessionRecord>;
    read: (id: string) => Promise<SessionRecord | undefined>;
    peek: (id: string) => SessionRecord | undefined;
    note: (record: SessionRecord) => void;
  };
  /** Histories in memory. */
  most?: number;
}

/** Some 5 MB. */
const usualMost = 20_000;

export class KnownHistories {
  readonly #store: KnownHistoriesOptions['store'];
  readonly #places: LRUCache<string, Place>;
  /** By the id of the response that ends the history. */
  readonly #responses: LRUCache<string, Place>;

  constructor({ store, most = usualMost }: KnownHistoriesOptions) {
    this.#store = store;
    this.#places = new LRUCache({ max: most });
    this.#responses = new LRUCache({ max: most });
  }

  /** The session that has this history; undefined if there is none, or its record is gone. */
  find(token: string, key: string): Promise<Place | undefined> {
    return this.#find(this.#places, key, token, (record) => record.conversation?.key === key);
  }

  /** The history that ends with this response of the token. */
  findResponse(token: string, id: string): Promise<Place | undefined> {
    return this.#find(this.#responses, id, token, (record) => record.conversation?.response === id);
  }

  /** Notes that the session has this history from now on. */
  note(sessionId: string, key: string, response: string | undefined): void {
    const at = performance.now();
    const place: Place = { key, sessionId, at, next: undefined, claimed: false };
    this.#places.set(key, place);
    if (response !== undefined) this.#responses.set(response, place);
    const record = this.#store.peek(sessionId);
    const conversation = response === undefined ? { key } : { key, response };
    if (record) this.#store.note({ ...record, conversation });
  }

  /** Whether the session got a prompt since that does not follow this history, such as that of a job. */
  hasGoneOn({ key, sessionId, next }: Place): boolean {
    return next === undefined && this.#store.peek(sessionId)?.conversation?.key !== key;
  }

  /** Forgets a history whose session cannot be continued. */
  forget({ key, sessionId }: Place): void {
    this.#places.delete(key);
    const record = this.#store.peek(sessionId);
    if (record?.conversation?.key !== key) return;
    const { conversation: _, ...rest } = record;
    this.#store.note(rest);
  }

  async #find(
    places: LRUCache<string, Place>,
    id: string,
    token: string,
    fits: (record: SessionRecord) => boolean,
  ): Promise<Place | undefined> {
    const place = places.get(id) ?? (await this.#inRecords(token, fits));
    if (!place) return undefined;
    const record = await this.#store.read(place.sessionId);
    // A session that was continued in another way, such as by a job, does not end with this history any more.
    const isElsewhere = place.next === undefined && record?.conversation?.key !== place.key;
    if (record === undefined || isElsewhere) places.delete(id);
    if (record?.token !== token || isElsewhere) return undefined;
    // Two callers may have found the record at once.
    const known = places.get(id);
    if (known) return known;
    places.set(id, place);
    return place;
  }

  async #inRecords(
    token: string,
    fits: (record: SessionRecord) => boolean,
  ): Promise<Place | undefined> {
    await this.#store.loaded;
    for (const record of this.#store.records) {
      if (record.token !== token || !record.conversation || !fits(record)) continue;
      const { key } = record.conversation;
      const known = this.#places.peek(key);
      if (known?.sessionId === record.id) return known;
      const sessionId = record.id;
      const place: Place = { key, sessionId, at: 0, next: undefined, claimed: false };
      this.#places.set(key, place);
      return place;
    }
    return undefined;
  }
}
