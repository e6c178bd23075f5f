/**
 * A pack as it comes from the server: written to a file, and read in the same pass, so that every
 * object is inflated and named by its SHA-1 once. Small objects stay in memory up to a bound.
 * Always holds: an object's id is computed from its content and never taken from the server; what
 * is inflated altogether is bounded, before it is allocated.
 */
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { inflateObject } from './inflate-object.ts';
import { LargeObject } from './large-object.ts';
import {
  applyDelta,
  type IndexRow,
  longestHeader,
  type ObjectHeader,
  type ObjectType,
  readHeader,
  resultSize,
} from './pack-format.ts';

export interface PackObject {
  type: ObjectType;
  content: Buffer;
}

interface Entry extends IndexRow {
  header: ObjectHeader;
  end: number;
  /** Empty until a delta is resolved. */
  type: ObjectType | undefined;
  /** How many deltas it is made of. */
  depth: number;
  /** Bytes of the object itself. */
  size: number;
}

interface Growing {
  object: LargeObject;
  header: ObjectHeader;
  crc: number;
}

export interface PackOptions {
  /** A file that is not there yet. */
  path: string;
  /** Throws if so many bytes are more than may be inflated. */
  allow: (bytes: number) => void;
  /** The base of a delta that the server knows to be here already. */
  external: (oid: string) => Promise<{ type: string; content: Buffer }>;
}

/** Objects from this size on are inflated piece by piece and not kept. */
const large = 256 * 1024;
const keptAtMost = 48 * 1024 * 1024;
const mostObjects = 1_000_000;
const deepest = 4_096;

export class Pack {
  #options: PackOptions;
  #file: FileHandle;
  #sum: Hash = createHash('sha1');
  /** What came and is not parsed yet; `#at` is its place in the file. */
  #chunks: Buffer[] = [];
  #length = 0;
  #needed = 12;
  #at = 0;
  #left: number | undefined;
  #growing: Growing | undefined;
  #byOffset = new Map<number, Entry>();
  #byId = new Map<string, Entry>();
  #unresolved: Entry[] = [];
  #kept = new Map<Entry, Buffer>();
  #keptBytes = 0;
  #inflated = 0;

  private constructor(options: PackOptions, file: FileHandle) {
    this.#options = options;
    this.#file = file;
  }

  static async create(options: PackOptions): Promise<Pack> {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    return new Pack(options, await open(options.path, flags, 0o600));
  }

  get rows(): readonly IndexRow[] {
    return [...this.#byId.values()];
  }

  async write(chunk: Buffer): Promise<void> {
    await this.#file.writeFile(chunk);
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    if (this.#length >= this.#needed) await this.#parse(false);
  }

  /**
   * The pack's trailer, when all of it is here and right. There is no fsync: what a power cut takes
   * is missed when it is read, and fetched again.
   * @throws Error
   */
  async finish(): Promise<Buffer> {
    await this.#parse(true);
    const trailer = this.#take();
    if (this.#left !== 0 || trailer.length !== 20) throw new Error('the pack is cut short');
    if (!this.#sum.digest().equals(trailer)) throw new Error("the pack's checksum is wrong");
    await this.#resolve();
    return trailer;
  }

  async close(): Promise<void> {
    this.#kept.clear();
    await this.#file.close();
  }

  has(oid: string): boolean {
    return this.#byId.has(oid);
  }

  /** Bytes of an object; 0 if it is not in the pack. */
  sizeOf(oid: string): number {
    return this.#byId.get(oid)?.size ?? 0;
  }

  /** One object; what was kept of a blob is given away. @throws Error if it is not in the pack */
  async read(oid: string): Promise<PackObject> {
    const entry = this.#byId.get(oid);
    if (!entry?.type) throw new Error(`the object ${oid} is not in the pack`);
    const kept = this.#kept.get(entry);
    if (kept && entry.type === 'blob') this.#forget(entry);
    if (kept) return { type: entry.type, content: kept };
    const content = await this.#content(entry);
    // The file lies where the CLI can write.
    if (idOf(entry.type, content) !== oid) throw new Error(`the object ${oid} is damaged`);
    return { type: entry.type, content };
  }

  #take(): Buffer {
    const all =
      this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
    this.#chunks = [];
    this.#length = 0;
    return all;
  }

  #putBack(rest: Buffer, needed: number): void {
    this.#chunks = rest.length > 0 ? [rest] : [];
    this.#length = rest.length;
    this.#needed = needed;
  }

  /** Parses what is there. @param final whether no more will come */
  async #parse(final: boolean): Promise<void> {
    let bytes = this.#take();
    const consume = (length: number): Buffer => {
      const part = bytes.subarray(0, length);
      this.#sum.update(part);
      this.#at += length;
      bytes = bytes.subarray(length);
      return part;
    };
    if (this.#left === undefined) {
      if (bytes.length < 12) throw new Error('the pack is cut short');
      this.#left = countOf(consume(12));
    }
    while (this.#left > 0) {
      if (this.#growing) {
        const used = await this.#grow(this.#growing, bytes);
        consume(used);
        if (this.#growing) return this.#putBack(bytes, 1);
        continue;
      }
      const header = readHeader(bytes.subarray(0, longestHeader));
      if (!header) return this.#putBack(bytes, bytes.length + 1);
      if (header.kind === 'blob' && header.size >= large) {
        this.#count(header.size);
        const object = new LargeObject(header.kind, header.size);
        this.#growing = { object, header, crc: crc32(consume(header.length)) };
        continue;
      }
      // zlib's own bound for what does not compress.
      const most = header.length + header.size + (header.size >> 10) + 64;
      if (bytes.length < most && !final) return this.#putBack(bytes, most);
      this.#count(header.size);
      const { content, used } = inflateObject(bytes.subarray(header.length), header.size);
      const offset = this.#at;
      const crc = crc32(consume(header.length + used));
      const entry = {
        header,
        offset,
        end: this.#at,
        crc,
        oid: '',
        type: undefined,
        depth: 0,
        size: 0,
      };
      this.#byOffset.set(offset, entry);
      this.#left -= 1;
      await this.#name(entry, content);
    }
    this.#putBack(bytes, Number.POSITIVE_INFINITY);
  }

  async #grow(growing: Growing, bytes: Buffer): Promise<number> {
    const { object, header } = growing;
    if (bytes.length === 0) return 0;
    const { used, ended } = await object.push(bytes);
    growing.crc = crc32(bytes.subarray(0, used), growing.crc);
    if (ended) {
      const end = this.#at + used;
      const offset = end - object.used - header.length;
      const { crc } = growing;
      const entry: Entry = {
        header,
        offset,
        end,
        crc,
        oid: object.id(),
        type: 'blob',
        depth: 0,
        size: header.size,
      };
      this.#byOffset.set(offset, entry);
      this.#byId.set(entry.oid, entry);
      this.#left = (this.#left ?? 0) - 1;
      this.#growing = undefined;
    }
    return used;
  }

  /** Gives an object its id, a delta only if its base has one already. */
  async #name(entry: Entry, content: Buffer): Promise<void> {
    const { kind } = entry.header;
    if (kind !== 'ofs-delta' && kind !== 'ref-delta') return this.#settle(entry, kind, content);
    const base = this.#baseOf(entry);
    if (!base?.type) {
      this.#unresolved.push(entry);
      return;
    }
    this.#count(resultSize(content));
    const from = this.#kept.get(base) ?? (await this.#content(base));
    entry.depth = base.depth + 1;
    this.#settle(entry, base.type, applyDelta(from, content));
  }

  #settle(entry: Entry, type: ObjectType, content: Buffer): void {
    entry.type = type;
    entry.oid = idOf(type, content);
    entry.size = content.length;
    this.#byId.set(entry.oid, entry);
    if (content.length >= large || this.#keptBytes + content.length > keptAtMost) return;
    this.#kept.set(entry, content);
    this.#keptBytes += content.length;
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

  /** Deltas whose bases came after them, or were here before. */
  async #resolve(): Promise<void> {
    for (let before = -1; this.#unresolved.length > 0; ) {
      const waiting = this.#unresolved;
      const stuck = waiting.length === before;
      before = waiting.length;
      this.#unresolved = [];
      for (const entry of waiting) {
        const delta = await this.#inflateAgain(entry);
        if (stuck && entry.header.kind === 'ref-delta' && !this.#baseOf(entry)) {
          const base = await this.#options.external(entry.header.base);
          this.#count(resultSize(delta));
          this.#settle(entry, base.type as ObjectType, applyDelta(base.content, delta));
        } else await this.#name(entry, delta);
      }
      if (stuck && this.#unresolved.length === before) throw new Error('a delta has no base');
    }
  }

  /** The object's content, from the file. */
  async #content(entry: Entry): Promise<Buffer> {
    const deltas: Buffer[] = [];
    let content: Buffer | undefined;
    for (let each: Entry | undefined = entry; content === undefined; each = this.#baseOf(each)) {
      if (!each) throw new Error('a delta has no base');
      const { kind, base } = each.header;
      const kept = this.#kept.get(each);
      const inflated: Buffer = kept ?? (await this.#inflateAgain(each));
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

  async #inflateAgain({ header, offset, end }: Entry): Promise<Buffer> {
    const start = offset + header.length;
    const bytes = Buffer.allocUnsafe(end - start);
    const { bytesRead } = await this.#file.read(bytes, 0, bytes.length, start);
    if (bytesRead !== bytes.length) throw new Error('the pack was cut short');
    return inflateObject(bytes, header.size).content;
  }

  #count(bytes: number): void {
    this.#inflated += bytes;
    this.#options.allow(this.#inflated);
  }
}

function countOf(start: Buffer): number {
  const version = start.readUInt32BE(4);
  if (start.toString('latin1', 0, 4) !== 'PACK' || (version !== 2 && version !== 3)) {
    throw new Error('what the server sent is no pack');
  }
  const count = start.readUInt32BE(8);
  if (count > mostObjects) throw new Error(`the pack has too many objects: ${count}`);
  return count;
}

/** The id that git gives to an object. */
function idOf(type: ObjectType, content: Uint8Array): string {
  return createHash('sha1').update(`${type} ${content.length}\0`).update(content).digest('hex');
}
