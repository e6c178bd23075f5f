/**
 * The incoming bytes of a pack: written to a file, and handed to the reader in order.
 * Invariants: each consumed byte is in the checksum once.
 */
import { createHash, type Hash } from 'node:crypto';
import { writeSync } from 'node:fs';

export class PackInput {
  #file: number;
  #sum: Hash = createHash('sha1');
  #chunks: Buffer[] = [];
  #length = 0;
  #at = 0;

  /** @param file open for writing, and empty */
  constructor(file: number) {
    this.#file = file;
  }

  /** How many bytes wait to be read. */
  get length(): number {
    return this.#length;
  }

  /** The offset in the pack of the next byte to be consumed. */
  get at(): number {
    return this.#at;
  }

  /** Synchronous: a write into the page cache takes microseconds. */
  add(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) at += writeSync(this.#file, chunk, at);
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /** All unread bytes in one buffer. They stay unread. */
  peek(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] ?? Buffer.alloc(0);
  }

  /** Marks the first bytes as read. `peek` must have returned them before. */
  consume(length: number): Buffer {
    const [first = Buffer.alloc(0), ...others] = this.#chunks;
    const part = first.subarray(0, length);
    this.#sum.update(part);
    this.#at += length;
    this.#length -= length;
    const rest = first.subarray(length);
    this.#chunks = rest.length > 0 ? [rest, ...others] : others;
    return part;
  }

  /** SHA-1 of all consumed bytes. Afterwards no byte may be consumed. */
  sum(): Buffer {
    return this.#sum.digest();
  }
}
