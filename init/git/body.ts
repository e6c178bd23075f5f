/** Bodies of HTTP answers, as the library wants them: iterators that remember what broke them. */

/** Counts its bytes. The library also sets `error`. */
export class Body implements AsyncIterableIterator<Uint8Array> {
  error: unknown;
  #chunks: AsyncIterator<Uint8Array>;
  #count: (length: number) => void;

  /** @param count may throw to end it */
  constructor(
    stream: AsyncIterable<Uint8Array>,
    count: (length: number) => void = () => undefined,
  ) {
    this.#chunks = stream[Symbol.asyncIterator]();
    this.#count = count;
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    try {
      const result = await this.#chunks.next();
      if (!result.done) this.#count(result.value.length);
      return result;
    } catch (error) {
      this.error ??= error;
      throw error;
    }
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    await this.#chunks.return?.().catch(() => undefined);
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** The whole body. @throws Error if it is larger than `most` bytes */
export async function collect(
  body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  most = Number.POSITIVE_INFINITY,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > most) throw new Error(`the answer is larger than ${most} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
