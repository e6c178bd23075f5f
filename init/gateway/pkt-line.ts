/**
 * The packets of git's protocol (gitprotocol-common: pkt-line): four hexadecimal digits with the length,
 * then the content.
 * Invariants: no input is trusted. The number of bytes that a reader keeps is bounded.
 */

/** The special packets of the protocol. */
export type Mark = 'flush' | 'delimiter' | 'end';

const marks: readonly Mark[] = ['flush', 'delimiter', 'end'];

/** The stream is not packets. */
export class PacketError extends Error {}

/** The longest packet of the protocol, in bytes. */
const longest = 65_520;

export const flush = Buffer.from('0000');
export const delimiter = Buffer.from('0001');

export function packet(content: string | Buffer): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([Buffer.from((bytes.length + 4).toString(16).padStart(4, '0')), bytes]);
}

/** Reads packets from a stream. After that the rest of the stream can be read as it is. */
export class PacketReader {
  readonly #source: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** The next packet; undefined at the end of the stream. @throws PacketError */
  async next(): Promise<Buffer | Mark | undefined> {
    if (!(await this.#has(4))) {
      if (this.#rest.length === 0) return undefined;
      throw new PacketError('the stream ends in the middle of a packet');
    }
    const digits = this.#rest.toString('latin1', 0, 4);
    const length = /^[0-9a-f]{4}$/i.test(digits) ? Number.parseInt(digits, 16) : Number.NaN;
    const mark = marks[length];
    if (!mark && !(length >= 4 && length <= longest))
      throw new PacketError('a packet has no length');
    const size = mark ? 4 : length;
    if (!(await this.#has(size)))
      throw new PacketError('the stream ends in the middle of a packet');
    const content = this.#rest.subarray(4, size);
    this.#rest = this.#rest.subarray(size);
    return mark ?? content;
  }

  /** All bytes behind the packets that were read. */
  async *rest(): AsyncGenerator<Buffer, void> {
    if (this.#rest.length > 0) yield this.#rest;
    this.#rest = Buffer.alloc(0);
    for (;;) {
      const { done, value } = await this.#source.next();
      if (done) return;
      yield value;
    }
  }

  async #has(bytes: number): Promise<boolean> {
    while (this.#rest.length < bytes) {
      const { done, value } = await this.#source.next();
      if (done) return false;
      this.#rest = this.#rest.length > 0 ? Buffer.concat([this.#rest, value]) : value;
    }
    return true;
  }
}
