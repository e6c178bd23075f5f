/** Inflates one zlib stream of a pack in one call. */
import { inflateSync } from 'node:zlib';

/**
 * @param bytes begin with the stream and may reach beyond it
 * @param size bytes of the result: no more is allocated
 * @throws Error if the stream is damaged or has another size
 */
export function inflateObject(bytes: Buffer, size: number): { content: Buffer; used: number } {
  const options = { info: true, chunkSize: Math.max(64, size + 1), maxOutputLength: size + 1 };
  // The types of Node.js do not know `info`.
  const { buffer, engine } = inflateSync(bytes, options) as unknown as {
    buffer: Buffer;
    engine: { bytesWritten: number };
  };
  if (buffer.length !== size)
    throw new Error('the size of an object in the pack differs from its header');
  return { content: buffer, used: engine.bytesWritten };
}
