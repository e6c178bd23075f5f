/**
 * A pack that arrives from the server: written to a file and read in the same pass, so that each object
 * is inflated and hashed once. Large objects are written to files of their own.
 * Invariants: the id of an object is computed from its content, never taken from the server. The total
 * of inflated bytes is bounded before memory is allocated.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { inflateObject } from './inflate-object.ts';
import { type LargeFiles, LargeObject } from './large-object.ts';
import { type IndexRow, longestHeader, type ObjectHeader, readHeader } from './pack-format.ts';
import { PackInput } from './pack-input.ts';
import { large, type ObjectsOptions, type PackObject, PackObjects } from './pack-objects.ts';

interface Growing {
  object: LargeObject;
  header: ObjectHeader;
  crc: number;
}

export interface PackOptions extends ObjectsOptions {
  /** The path of a file that does not exist yet. */
  path: string;
  /** Gets the large blobs. */
  largeFiles: LargeFiles;
}

const mostObjects = 1_000_000;
/** Bytes of a large object that the thread pool inflates in one call, while more bytes arrive. */
const batch = 1024 * 1024;

export class Pack {
  #file: number;
  /** The path prefix of the files of large objects; the same as of incomplete packs. */
  #prefix: string;
  #input: PackInput;
  #objects: PackObjects;
  /** The number of unread bytes from which reading can continue. */
  #needed = 12;
  #left: number | undefined;
  #growing: Growing | undefined;
  #largeFiles: LargeFiles;
  #reading: Promise<void> | undefined;

  private constructor(options: PackOptions, file: number) {
    this.#file = file;
    this.#prefix = join(dirname(options.path), 'tmp-');
    this.#largeFiles = options.largeFiles;
    this.#input = new PackInput(file);
    this.#objects = new PackObjects(options, file);
  }

  static create(options: PackOptions): Pack {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    return new Pack(options, openSync(options.path, flags, 0o600));
  }

  get rows(): readonly IndexRow[] {
    return this.#objects.rows;
  }

  /** Takes the next bytes. @throws Error, also for earlier bytes */
  async write(chunk: Buffer): Promise<void> {
    this.#input.add(chunk);
    if (this.#input.length < this.#needed) return;
    // The next batch arrives while the thread pool inflates this one.
    await this.#reading;
    this.#reading = this.#read(false);
    if (this.#growing) this.#reading.catch(() => undefined);
    else await this.#reading;
  }

  /**
   * Completes the pack. There is no fsync: damage by a power cut is found when an object is read, and
   * the object is fetched again.
   * @returns the trailer of the pack
   * @throws Error if the pack is not complete, or its checksum is wrong
   */
  async finish(): Promise<Buffer> {
    await this.#reading;
    await this.#read(true);
    const trailer = this.#input.peek();
    if (this.#left !== 0 || trailer.length !== 20) throw new Error('the pack is cut short');
    if (!this.#input.sum().equals(trailer)) throw new Error("the pack's checksum is wrong");
    await this.#objects.resolve();
    return trailer;
  }

  /** Closes the file and frees the memory. */
  async close(): Promise<void> {
    await this.#reading?.catch(() => undefined);
    this.#objects.clear();
    this.#growing?.object.discard();
    if (this.#file >= 0) closeSync(this.#file);
    this.#file = -1;
  }

  has(oid: string): boolean {
    return this.#objects.find(oid) !== undefined;
  }

  /** Bytes of an object; 0 if it is not in the pack. */
  sizeOf(oid: string): number {
    return this.#objects.find(oid)?.size ?? 0;
  }

  /** Reads one object. A blob then leaves the memory. @throws Error if it is not in the pack */
  read(oid: string): Promise<PackObject> {
    return this.#objects.read(oid);
  }

  /** Reads the unread bytes. @param final true if no more bytes will arrive */
  async #read(final: boolean): Promise<void> {
    const input = this.#input;
    if (this.#left === undefined) {
      if (input.length < 12) throw new Error('the pack is cut short');
      input.peek();
      this.#left = countOf(input.consume(12));
    }
    while (this.#left > 0) {
      if (this.#growing) {
        await this.#grow(this.#growing);
        if (!this.#growing) continue;
        this.#needed = batch;
        return;
      }
      const bytes = input.peek();
      const header = readHeader(bytes.subarray(0, longestHeader));
      if (!header) {
        this.#needed = bytes.length + 1;
        return;
      }
      if (header.kind === 'blob' && header.size >= large) {
        this.#objects.count(header.size);
        const object = new LargeObject(header.kind, header.size, this.#prefix);
        this.#growing = { object, header, crc: crc32(input.consume(header.length)) };
        continue;
      }
      // The bound of zlib for incompressible data.
      const most = header.length + header.size + (header.size >> 10) + 64;
      if (bytes.length < most && !final) {
        this.#needed = most;
        return;
      }
      this.#addSmall(header, bytes);
    }
    this.#needed = Number.POSITIVE_INFINITY;
  }

  #addSmall(header: ObjectHeader, bytes: Buffer): void {
    this.#objects.count(header.size);
    const { content, used } = inflateObject(bytes.subarray(header.length), header.size);
    const offset = this.#input.at;
    const crc = crc32(this.#input.consume(header.length + used));
    const end = this.#input.at;
    this.#objects.add({ header, offset, end, crc, oid: '', type: undefined, size: 0 }, content);
    this.#left = (this.#left ?? 0) - 1;
  }

  async #grow(growing: Growing): Promise<void> {
    const { object, header } = growing;
    const bytes = this.#input.peek();
    if (bytes.length === 0) return;
    this.#needed = bytes.length + batch;
    const { used, ended } = await object.push(bytes);
    growing.crc = crc32(this.#input.consume(used), growing.crc);
    if (!ended) return;
    const end = this.#input.at;
    const offset = end - object.used - header.length;
    const { oid, file } = object.finish();
    this.#growing = undefined;
    this.#largeFiles.add(oid, file);
    const { size } = header;
    this.#objects.addNamed({ header, offset, end, crc: growing.crc, oid, type: 'blob', size });
    this.#left = (this.#left ?? 0) - 1;
  }
}

function countOf(start: Buffer): number {
  const version = start.readUInt32BE(4);
  if (start.toString('latin1', 0, 4) !== 'PACK' || (version !== 2 && version !== 3)) {
    throw new Error('the server sent data that is not a pack');
  }
  const count = start.readUInt32BE(8);
  if (count > mostObjects) throw new Error(`the pack has too many objects: ${count}`);
  return count;
}
