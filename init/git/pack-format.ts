/**
 * The parts of git's pack format (gitformat-pack) that a reader needs: object headers, deltas, and the
 * index with the offset of each object.
 * Invariants: no input is trusted. Invalid input causes an Error, never access beyond a buffer.
 */
import { createHash } from 'node:crypto';

export type ObjectType = 'commit' | 'tree' | 'blob' | 'tag';

export interface ObjectHeader {
  kind: ObjectType | 'ofs-delta' | 'ref-delta';
  /** Bytes when inflated: of the object, or of the delta. */
  size: number;
  /** Bytes of the header itself. */
  length: number;
  /** Of an `ofs-delta`: how far before this object its base starts. */
  distance: number;
  /** Of a `ref-delta`: the id of its base. */
  base: string;
}

const none = undefined;
const kinds = [none, 'commit', 'tree', 'blob', 'tag', none, 'ofs-delta', 'ref-delta'] as const;

/** The id that git gives to an object. */
export function objectId(type: string, content: Uint8Array): string {
  return createHash('sha1').update(`${type} ${content.length}\0`).update(content).digest('hex');
}

/** The longest header: a size of 10 bytes and an id. */
export const longestHeader = 30;

/** Undefined if `bytes` end within it. */
export function readHeader(bytes: Uint8Array): ObjectHeader | undefined {
  let at = 0;
  const next = (): number => bytes[at++] ?? -1;
  let byte = next();
  const kind = kinds[(byte >> 4) & 7];
  let size = byte & 15;
  for (let factor = 16; byte & 0x80; factor *= 128) {
    byte = next();
    if (byte < 0) return undefined;
    size += (byte & 0x7f) * factor;
  }
  if (kind === undefined) throw new Error('the pack has an object of an unknown kind');
  if (!Number.isSafeInteger(size)) throw new Error('the pack has an object of impossible size');
  const header: ObjectHeader = { kind, size, length: at, distance: 0, base: '' };
  if (kind === 'ofs-delta') {
    byte = next();
    let distance = byte & 0x7f;
    while (byte >= 0 && byte & 0x80) {
      byte = next();
      distance = (distance + 1) * 128 + (byte & 0x7f);
    }
    if (byte < 0) return undefined;
    header.distance = distance;
    header.length = at;
  } else if (kind === 'ref-delta') {
    if (at + 20 > bytes.length) return undefined;
    header.base = Buffer.from(bytes.buffer, bytes.byteOffset + at, 20).toString('hex');
    header.length = at + 20;
  }
  return header;
}

/** The length of the result, as the delta states it. */
export function resultSize(delta: Uint8Array): number {
  return readSize(delta, readSize(delta, 0).next).size;
}

function readSize(bytes: Uint8Array, from: number): { size: number; next: number } {
  let size = 0;
  for (let at = from, factor = 1; at < bytes.length; factor *= 128) {
    const byte = bytes[at++] as number;
    size += (byte & 0x7f) * factor;
    if (!(byte & 0x80)) return { size, next: at };
  }
  throw new Error('a delta in the pack is torn');
}

/** Applies `delta` to `base`. */
export function applyDelta(base: Buffer, delta: Buffer): Buffer {
  const source = readSize(delta, 0);
  const target = readSize(delta, source.next);
  if (source.size !== base.length) throw new Error('a delta in the pack is for another base');
  const result = Buffer.allocUnsafe(target.size);
  let written = 0;
  let at = target.next;
  while (at < delta.length) {
    const code = delta[at++] as number;
    let from = base;
    let start = at;
    let size = code;
    if (code & 0x80) {
      start = size = 0;
      for (let bit = 0; bit < 4; bit++)
        if (code & (1 << bit)) start += (delta[at++] ?? 0) * 256 ** bit;
      for (let bit = 0; bit < 3; bit++)
        if (code & (16 << bit)) size += (delta[at++] ?? 0) * 256 ** bit;
      size ||= 0x10000;
    } else {
      from = delta;
      at += size;
    }
    const fits = start + size <= from.length && written + size <= result.length;
    if (size === 0 || !fits) throw new Error('a delta in the pack is torn');
    from.copy(result, written, start, start + size);
    written += size;
  }
  if (written !== result.length) throw new Error('a delta in the pack is torn');
  return result;
}

export interface IndexRow {
  oid: string;
  offset: number;
  crc: number;
}

/** The index of a pack under 2 GiB, version 2. @param trailer the last 20 bytes of the pack */
export function buildIndex(rows: readonly IndexRow[], trailer: Buffer): Buffer {
  const sorted = rows.toSorted((a, b) => (a.oid < b.oid ? -1 : 1));
  const count = sorted.length;
  const index = Buffer.alloc(8 + 1024 + count * 28 + 20);
  index.write('ff744f6300000002', 'hex');
  const firstBytes = new Uint32Array(256);
  sorted.forEach(({ oid, offset, crc }, row) => {
    const first = Number.parseInt(oid.slice(0, 2), 16);
    firstBytes[first] = (firstBytes[first] ?? 0) + 1;
    index.write(oid, 1032 + row * 20, 'hex');
    index.writeUInt32BE(crc, 1032 + count * 20 + row * 4);
    index.writeUInt32BE(offset, 1032 + count * 24 + row * 4);
  });
  firstBytes.reduce((sum, each, byte) => {
    index.writeUInt32BE(sum + each, 8 + byte * 4);
    return sum + each;
  }, 0);
  trailer.copy(index, index.length - 20);
  return Buffer.concat([index, createHash('sha1').update(index).digest()]);
}
