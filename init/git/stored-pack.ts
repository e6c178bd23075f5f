/**
 * A pack of an earlier run, read one object at a time by its index. The library would load the whole pack.
 * Invariants: the CLI can write to both files, so every offset and size is checked before it is used.
 * The caller checks the id of the object.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { readFileBounded } from '../../shared/files.ts';
import { inflateObject } from './inflate-object.ts';
import { applyDelta, longestHeader, type ObjectType, readHeader } from './pack-format.ts';

export type ReadStored = (oid: string) => Promise<{ type: string; content: Buffer }>;

const largestIndex = 64 * 1024 * 1024;
const magic = 'ff744f6300000002';
const deepest = 4_096;

export class StoredPack {
  #index: Buffer;
  #count: number;
  #file: number;
  /** The offsets of all objects, and the end of the last one. */
  #starts: number[];

  private constructor(index: Buffer, count: number, file: number, starts: number[]) {
    this.#index = index;
    this.#count = count;
    this.#file = file;
    this.#starts = starts;
  }

  /** @param name the path without `.pack`. @returns undefined if its index is missing or damaged */
  static async open(name: string): Promise<StoredPack | undefined> {
    const index = await readFileBounded(`${name}.idx`, largestIndex);
    const count = index && index.length >= 1072 ? index.readUInt32BE(8 + 255 * 4) : -1;
    if (!index || index.toString('hex', 0, 8) !== magic || index.length !== 1072 + count * 28) {
      return undefined;
    }
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const file = openSync(`${name}.pack`, flags);
    const { size } = fstatSync(file);
    const starts = Array.from({ length: count }, (_, row) => offsetOf(index, count, row));
    starts.sort((a, b) => a - b).push(size - 20);
    return new StoredPack(index, count, file, starts);
  }

  close(): void {
    closeSync(this.#file);
  }

  /** Undefined if the object is not in this pack. @param other reads bases from another pack */
  async read(
    oid: string,
    other: ReadStored,
  ): Promise<{ type: ObjectType; content: Buffer } | undefined> {
    const offset = this.#find(oid);
    return offset === undefined ? undefined : this.#readAt(offset, other);
  }

  #find(oid: string): number | undefined {
    const wanted = Buffer.from(oid, 'hex');
    for (let low = 0, high = this.#count; low < high; ) {
      const middle = (low + high) >> 1;
      const at = 1032 + middle * 20;
      const order = wanted.compare(this.#index, at, at + 20);
      if (order === 0) return offsetOf(this.#index, this.#count, middle);
      if (order < 0) high = middle;
      else low = middle + 1;
    }
    return undefined;
  }

  async #readAt(
    offset: number,
    other: ReadStored,
    depth = 0,
  ): Promise<{ type: ObjectType; content: Buffer }> {
    if (depth > deepest) throw new Error('the pack has too long a chain of deltas');
    const end = this.#starts[this.#starts.indexOf(offset) + 1] ?? 0;
    const bytes = Buffer.allocUnsafe(Math.max(0, end - offset));
    // Synchronous: for some hundred bytes the thread pool costs ten times as much.
    const length = readSync(this.#file, bytes, 0, bytes.length, offset);
    const header = readHeader(bytes.subarray(0, longestHeader));
    if (length !== bytes.length || !header) throw new Error('the pack is damaged');
    const { content } = inflateObject(bytes.subarray(header.length), header.size);
    if (header.kind !== 'ofs-delta' && header.kind !== 'ref-delta') {
      return { type: header.kind, content };
    }
    const start = header.kind === 'ofs-delta' ? offset - header.distance : this.#find(header.base);
    const base =
      start === undefined ? await other(header.base) : await this.#readAt(start, other, depth + 1);
    return { type: base.type as ObjectType, content: applyDelta(base.content, content) };
  }
}

function offsetOf(index: Buffer, count: number, row: number): number {
  return index.readUInt32BE(1032 + count * 24 + row * 4);
}
