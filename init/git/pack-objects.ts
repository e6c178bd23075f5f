/**
 * The objects of one pack that have arrived: their offsets, ids and deltas. Small objects stay in memory
 * up to a bound; other objects are read from the file of the pack again.
 * Invariants: the id of an object is computed from its content. The total of inflated bytes is bounded
 * before memory is allocated.
 */
import { readSync } from 'node:fs';
import { inflateObject } from './inflate-object.ts';
import {
  applyDelta,
  type IndexRow,
  type ObjectHeader,
  type ObjectType,
  objectId,
  resultSize,
} from './pack-format.ts';

export interface PackObject {
  type: ObjectType;
  content: Buffer;
}

export interface Entry extends IndexRow {
  header: ObjectHeader;
  end: number;
  /** Empty until a delta is resolved. */
  type: ObjectType | undefined;
  /** Bytes of the object itself. */
  size: number;
}

export interface ObjectsOptions {
  /** Throws if the total of inflated bytes exceeds the limit. */
  allow: (bytes: number) => void;
  /**
   * Reads the base of a delta that is not in this pack, because the server knows that the base is
   * in this directory.
   */
  external: (oid: string) => Promise<{ type: string; content: Buffer }>;
}

/** Objects from this size on are not kept in memory. */
export const large = 256 * 1024;
const keptAtMost = 128 * 1024 * 1024;
/**
 * Used when the memory above is full: the most recent objects, because deltas follow their bases.
 */
const recentAtMost = 16 * 1024 * 1024;
const deepest = 4_096;

export class PackObjects {
  #options: ObjectsOptions;
  /** The pack's, open for reading. */
  #file: number;
  #byOffset = new Map<number, Entry>();
  #byId = new Map<string, Entry>();
  #unresolved: Entry[] = [];
  #kept = new Map<Entry, Buffer>();
  #keptBytes = 0;
  #recent = new Map<Entry, Buffer>();
  #recentBytes = 0;
  #inflated = 0;

  constructor(options: ObjectsOptions, file: number) {
    this.#options = options;
    this.#file = file;
  }

  get rows(): readonly IndexRow[] {
    return [...this.#byId.values()];
  }

  /** Undefined if it is not in the pack. */
  find(oid: string): Entry | undefined {
    return this.#byId.get(oid);
  }

  /** Adds to the total of inflated bytes. Must be called before inflating. */
  count(bytes: number): void {
    this.#inflated += bytes;
    this.#options.allow(this.#inflated);
  }

  /** Adds an object whose id is already known. */
  addNamed(entry: Entry): void {
    this.#byOffset.set(entry.offset, entry);
    this.#byId.set(entry.oid, entry);
  }

  /** @param content the inflated content: of the object, or of the delta */
  add(entry: Entry, content: Buffer): void {
    this.#byOffset.set(entry.offset, entry);
    this.#name(entry, content);
  }

  /** Reads one object. A blob then leaves the memory. @throws Error if it is not in the pack */
  async read(oid: string): Promise<PackObject> {
    const entry = this.#byId.get(oid);
    if (!entry?.type) throw new Error(`the object ${oid} is not in the pack`);
    const kept = this.#kept.get(entry);
    if (kept && entry.type === 'blob') this.#forget(entry);
    if (kept) return { type: entry.type, content: kept };
    const content = await this.#content(entry);
    // The CLI can write to the file.
    if (objectId(entry.type, content) !== oid) throw new Error(`the object ${oid} is damaged`);
    return { type: entry.type, content };
  }

  /** Computes the ids of the deltas whose bases came later, or are in another pack. @throws Error */
  async resolve(): Promise<void> {
    for (let before = -1; this.#unresolved.length > 0; ) {
      const waiting = this.#unresolved;
      const stuck = waiting.length === before;
      before = waiting.length;
      this.#unresolved = [];
      for (const entry of waiting) {
        const delta = this.#inflateAgain(entry);
        if (stuck && entry.header.kind === 'ref-delta' && !this.#baseOf(entry)) {
          const base = await this.#options.external(entry.header.base);
          this.count(resultSize(delta));
          this.#settle(entry, base.type as ObjectType, applyDelta(base.content, delta));
        } else await this.#nameLater(entry, delta);
      }
      if (stuck && this.#unresolved.length === before) throw new Error('a delta has no base');
    }
  }

  clear(): void {
    this.#kept.clear();
    this.#recent.clear();
  }

  /** Computes the id of an object; of a delta only if the base has an id and is in memory. */
  #name(entry: Entry, content: Buffer): void {
    const { kind } = entry.header;
    if (kind !== 'ofs-delta' && kind !== 'ref-delta') {
      this.#settle(entry, kind, content);
      return;
    }
    const base = this.#baseOf(entry);
    const from = base && this.#inMemory(base);
    if (!base?.type || !from) {
      this.#unresolved.push(entry);
      return;
    }
    this.count(resultSize(content));
    this.#settle(entry, base.type, applyDelta(from, content));
  }

  async #nameLater(entry: Entry, delta: Buffer): Promise<void> {
    const base = this.#baseOf(entry);
    if (!base?.type) {
      this.#unresolved.push(entry);
      return;
    }
    this.count(resultSize(delta));
    const from = this.#inMemory(base) ?? (await this.#content(base));
    this.#settle(entry, base.type, applyDelta(from, delta));
  }

  #settle(entry: Entry, type: ObjectType, content: Buffer): void {
    entry.type = type;
    entry.oid = objectId(type, content);
    entry.size = content.length;
    this.#byId.set(entry.oid, entry);
    if (content.length >= large) return;
    if (this.#keptBytes + content.length <= keptAtMost) {
      this.#kept.set(entry, content);
      this.#keptBytes += content.length;
      return;
    }
    this.#recent.set(entry, content);
    this.#recentBytes += content.length;
    for (const [oldest, bytes] of this.#recent) {
      if (this.#recentBytes <= recentAtMost) break;
      this.#recent.delete(oldest);
      this.#recentBytes -= bytes.length;
    }
  }

  #inMemory(entry: Entry): Buffer | undefined {
    return this.#kept.get(entry) ?? this.#recent.get(entry);
  }

  #forget(entry: Entry): void {
    this.#keptBytes -= this.#kept.get(entry)?.length ?? 0;
    this.#kept.delete(entry);
  }

  #baseOf({ header, offset }: Entry): Entry | undefined {
    return header.kind === 'ofs-delta'
      ? this.#byOffset.get(offset - header.distance)
      : this.#byId.get(header.base);
  }

  /** Reads the content of the object from the file. */
  async #content(entry: Entry): Promise<Buffer> {
    const deltas: Buffer[] = [];
    let content: Buffer | undefined;
    for (let each: Entry | undefined = entry; content === undefined; each = this.#baseOf(each)) {
      if (!each) throw new Error('a delta has no base');
      const { kind, base } = each.header;
      const kept = this.#inMemory(each);
      const inflated: Buffer = kept ?? this.#inflateAgain(each);
      if (kept || (kind !== 'ofs-delta' && kind !== 'ref-delta')) content = inflated;
      else {
        deltas.push(inflated);
        if (deltas.length > deepest) throw new Error('the pack has too long a chain of deltas');
        if (kind === 'ref-delta' && !this.#baseOf(each)) {
          content = (await this.#options.external(base)).content;
        }
      }
    }
    for (let delta = deltas.pop(); delta; delta = deltas.pop())
      content = applyDelta(content, delta);
    return content;
  }

  #inflateAgain({ header, offset, end }: Entry): Buffer {
    const start = offset + header.length;
    const bytes = Buffer.allocUnsafe(end - start);
    const length = readSync(this.#file, bytes, 0, bytes.length, start);
    if (length !== bytes.length) throw new Error('the pack was cut short');
    return inflateObject(bytes, header.size).content;
  }
}
