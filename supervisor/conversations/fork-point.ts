/**
 * Finds the message of a transcript up to which a fork copies it: the last one of a history, although the session
 * may have had other prompts since, or may have one under way.
 * Invariant: the CLI's user can write the file: it is untrusted, and read in bounded pieces.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { findInTranscript } from '../prompts/resume-prompt.ts';

/** Bytes of a line, and of the end of the file, that are read. */
const longest = 16 * 1024 * 1024;
const piece = 256 * 1024;

/**
 * Never rejects.
 * @param nextOf gives the id of the prompt that followed the history; undefined if none was sent yet
 * @returns the id of the message; undefined if it cannot be found
 */
export async function forkPoint(
  transcript: string | undefined,
  nextOf: () => string | undefined,
): Promise<string | undefined> {
  if (transcript === undefined) return undefined;
  try {
    const file = await open(transcript, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      // The end is read first: the CLI may write that prompt meanwhile.
      const last = await lastMessage(file);
      const next = nextOf();
      if (next === undefined) return last;
      const position = await findInTranscript(file, next);
      return position === undefined ? last : parentOf(await lineAt(file, position));
    } finally {
      await file.close();
    }
  } catch {
    return undefined;
  }
}

async function lastMessage(file: FileHandle): Promise<string | undefined> {
  const { size } = await file.stat();
  for (let length = piece; ; length *= 4) {
    const start = Math.max(0, size - length);
    const lines = (await read(file, start, size - start)).toString('utf8').split('\n');
    // The first line may have been cut.
    for (const line of start === 0 ? lines.reverse() : lines.slice(1).reverse()) {
      const { uuid, isSidechain } = parsed(line);
      if (typeof uuid === 'string' && isSidechain !== true) return uuid;
    }
    if (start === 0 || length >= longest) return undefined;
  }
}

/** The line of that position, in which it is near the end. */
async function lineAt(file: FileHandle, position: number): Promise<string> {
  const before = Math.min(position, longest);
  const bytes = await read(file, position - before, before + piece);
  const start = bytes.lastIndexOf('\n', before) + 1;
  const end = bytes.indexOf('\n', before);
  return bytes.subarray(start, end < 0 ? undefined : end).toString('utf8');
}

async function read(file: FileHandle, start: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, start);
  return buffer.subarray(0, bytesRead);
}

function parentOf(line: string): string | undefined {
  const { parentUuid } = parsed(line);
  return typeof parentUuid === 'string' ? parentUuid : undefined;
}

function parsed(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
