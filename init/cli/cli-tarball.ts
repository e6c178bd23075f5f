/**
 * Streams the one required file of the CLI's tarball, `package/claude`.
 * Invariants: nothing else of the tarball is written anywhere, whatever paths, links and sizes it
 * names. Memory does not grow with the tarball, and the file is bounded.
 */
import { createReadStream } from 'node:fs';
import { Parser } from 'tar/parse';
import type { ReadEntry } from 'tar/read-entry';
import { messageOf } from '../../shared/errors.ts';
import { formatSize } from '../../shared/units.ts';
import { abortable } from '../../shared/waiting.ts';

/** The binary of 2.1.330 has 381 MB. */
const mostBinaryBytes = 2 * 1024 ** 3;

const wanted = 'package/claude';
/** npm's packages of the CLI have four. */
const mostEntries = 10_000;
/**
 * The maximum ratio of unpacked to packed size: program code has two or three, zeros a thousand.
 */
const mostRatio = 500;

export interface UnpackOptions {
  signal: AbortSignal;
  mostBytes?: number;
}

/**
 * @param take receives the parts in sequence; the next part comes after it has returned
 * @throws Error with the problem of the tarball, Unpackable; errors of `take`; the signal's reason
 */
export async function readBinary(
  path: string,
  take: (part: Buffer) => Promise<void>,
  { signal, mostBytes = mostBinaryBytes }: UnpackOptions,
): Promise<void> {
  let entries = 0;
  let reading: Promise<void> | undefined;
  const parser = new Parser({
    strict: true,
    maxDecompressionRatio: mostRatio,
    filter: (name) => {
      entries += 1;
      if (entries > mostEntries) fail(new Unpackable(`it has more than ${mostEntries} entries`));
      return name === wanted;
    },
    onReadEntry: (entry) => {
      const problem = reading ? `it has ${wanted} twice` : problemOf(entry, mostBytes);
      if (problem) fail(new Unpackable(problem));
      else {
        reading = handOn(entry, take);
        reading.catch(fail);
      }
    },
  });
  const { promise: ended, resolve, reject } = Promise.withResolvers<void>();
  const input = createReadStream(path, { highWaterMark: 1024 * 1024 });
  const fail = (error: unknown): void => {
    reject(error);
    input.destroy();
  };
  try {
    signal.throwIfAborted();
    input.on('error', fail);
    parser.on('error', (error) => fail(new Unpackable(messageOf(error), { cause: error })));
    parser.on('end', resolve);
    input.pipe(parser as unknown as NodeJS.WritableStream);
    await abortable(ended, signal);
    if (!reading) throw new Unpackable(`it has no file ${wanted}`);
    await reading;
  } finally {
    input.destroy();
  }
}

/** The tarball is complete, but cannot be unpacked. */
export class Unpackable extends Error {}

function problemOf({ type, size }: ReadEntry, mostBytes: number): string | undefined {
  if (type !== 'File' && type !== 'OldFile') return `its ${wanted} is not a file but a ${type}`;
  if (size > mostBytes) return `its ${wanted} is larger than ${formatSize(mostBytes)}`;
  return undefined;
}

async function handOn(entry: ReadEntry, take: (part: Buffer) => Promise<void>): Promise<void> {
  for await (const part of entry) await take(part);
}
