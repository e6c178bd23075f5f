/** Reads the end of a transcript, which the CLI may be writing. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/**
 * The whole lines from a byte on. `shorter`: the file has fewer bytes. `too long`: it has more than `longest`.
 * @throws Error of the system; a symlink is not followed
 */
export async function readLines(
  path: string,
  from: number,
  longest: number,
): Promise<Buffer | 'shorter' | 'too long'> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    if (size > longest) return 'too long';
    if (size < from) return 'shorter';
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
    return buffer.subarray(0, buffer.subarray(0, bytesRead).lastIndexOf('\n') + 1);
  } finally {
    await file.close();
  }
}
