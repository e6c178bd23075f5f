/** An object of a pack that is too large for memory: inflated piece by piece, only to learn its id. */
import { createHash } from 'node:crypto';
import { createInflate } from 'node:zlib';

export class LargeObject {
  #inflate = createInflate({ chunkSize: 256 * 1024 });
  #hash;
  #size: number;
  #length = 0;
  #ended = false;

  constructor(type: string, size: number) {
    this.#size = size;
    this.#hash = createHash('sha1').update(`${type} ${size}\0`);
    this.#inflate.on('data', (part: Buffer) => {
      this.#length += part.length;
      if (this.#length > size) this.#inflate.destroy(new Error('an object is larger than it says'));
      else this.#hash.update(part);
    });
    // Seen by whoever waits in `push`.
    this.#inflate.on('error', () => undefined);
  }

  /** Compressed bytes so far. */
  get used(): number {
    return this.#inflate.bytesWritten;
  }

  /** Takes the next bytes, which may reach beyond its end. @throws Error if they are damaged */
  async push(bytes: Buffer): Promise<{ used: number; ended: boolean }> {
    const before = this.used;
    await new Promise<void>((resolve, reject) => {
      const settle = (error?: Error | null) => {
        this.#inflate.off('end', end).off('error', settle);
        if (error) reject(error);
        else resolve();
      };
      const end = () => {
        this.#ended = true;
        settle();
      };
      this.#inflate.once('end', end).once('error', settle);
      this.#inflate.write(bytes, settle);
    });
    return { used: this.used - before, ended: this.#ended };
  }

  /** The object's id, when it has ended. */
  id(): string {
    if (this.#length !== this.#size) throw new Error('an object is smaller than it says');
    return this.#hash.digest('hex');
  }
}
