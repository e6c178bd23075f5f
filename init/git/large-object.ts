/**
 * An object of a pack that is too large for memory: inflated in pieces while it arrives, into a file and
 * into a hash for its id. The file is moved to its place on the volume later.
 * Invariants: no more bytes are inflated or written than the header of the object states.
 */
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, fsync, openSync, rmSync, writeSync } from 'node:fs';
import { createInflate } from 'node:zlib';

/** The content of a large object as a file, which may not survive a power cut yet. */
export interface LaidOut {
  path: string;
  inode: number;
  size: number;
}

/** The large blobs that this run has received, each as a file until `take` returns it. */
export class LargeFiles {
  readonly #files = new Map<string, LaidOut>();

  /** Replaces the file of an object that arrived twice. */
  add(oid: string, file: LaidOut): void {
    const twin = this.#files.get(oid);
    if (twin) rmSync(twin.path, { force: true });
    this.#files.set(oid, file);
  }

  /** The file with the content of a blob, once: the caller moves or removes it. */
  take(oid: string): LaidOut | undefined {
    const file = this.#files.get(oid);
    this.#files.delete(oid);
    return file;
  }

  /** Removes the files that were not taken. */
  clear(): void {
    for (const { path } of this.#files.values()) rmSync(path, { force: true });
    this.#files.clear();
  }
}

export class LargeObject {
  #inflate = createInflate({ chunkSize: 256 * 1024 });
  #hash;
  #size: number;
  #length = 0;
  #ended = false;
  #failure: unknown;
  #path: string;
  #file: number;

  /** @param prefix of the file's path; the rest of its name is random */
  constructor(type: string, size: number, prefix: string) {
    this.#size = size;
    this.#hash = createHash('sha1').update(`${type} ${size}\0`);
    this.#path = `${prefix}${randomBytes(6).toString('hex')}`;
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    this.#file = openSync(this.#path, flags, 0o600);
    this.#inflate.on('data', (part: Buffer) => this.#add(part));
    // `push` reports the error.
    this.#inflate.on('error', () => undefined);
  }

  #add(part: Buffer): void {
    this.#length += part.length;
    try {
      if (this.#length > this.#size) throw new Error('an object is larger than its header states');
      this.#hash.update(part);
      for (let at = 0; at < part.length; ) at += writeSync(this.#file, part, at);
    } catch (error) {
      // A stream that is destroyed here calls back without an error.
      this.#failure ??= error;
      this.#inflate.destroy();
    }
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
        if (error && this.#failure === undefined) reject(error);
        else resolve();
      };
      const end = () => {
        this.#ended = true;
        settle();
      };
      this.#inflate.once('end', end).once('error', settle);
      this.#inflate.write(bytes, settle);
    });
    if (this.#failure !== undefined) throw this.#failure;
    return { used: this.used - before, ended: this.#ended };
  }

  /** The object's id and its file, when it has ended. */
  finish(): { oid: string; file: LaidOut } {
    if (this.#length !== this.#size) throw new Error('an object is smaller than its header states');
    const { ino, size } = fstatSync(this.#file);
    const file = this.#file;
    this.#file = -1;
    // The disk writes while more arrives. The code that moves the file waits for fsync again.
    fsync(file, () => closeSync(file));
    return { oid: this.#hash.digest('hex'), file: { path: this.#path, inode: ino, size } };
  }

  /** Removes the file, unless the object is finished. */
  discard(): void {
    this.#inflate.destroy();
    if (this.#file < 0) return;
    closeSync(this.#file);
    this.#file = -1;
    rmSync(this.#path, { force: true });
  }
}
