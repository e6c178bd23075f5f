/**
 * Whether a turn is in the transcript of its session. On a full volume the CLI (2.1.330) answers, writes a part of the
 * answer or nothing, and reports no error: after a restart the session continues without the turn.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { pause } from '../../shared/waiting.ts';

/** Bytes of a transcript that are read, from its end. */
const mostBytes = 16 * 1024 * 1024;
/** The CLI writes the transcript after its answer: how often it is read, and milliseconds between reads. */
const mostLooks = 10;
const betweenLooks = 100;

/**
 * Resolves to false if the transcript does not end with the answer to that prompt; never rejects.
 * @param promptId the id with which the prompt was sent
 */
export async function isKept(transcript: string | undefined, promptId: string): Promise<boolean> {
  if (transcript === undefined) return false;
  for (let look = 1; ; look++) {
    if (await endsAnswered(transcript, promptId).catch(() => false)) return true;
    if (look === mostLooks) return false;
    await pause(betweenLooks);
  }
}

async function endsAnswered(transcript: string, promptId: string): Promise<boolean> {
  const lines = (await readEnd(transcript)).split('\n');
  let answered = false;
  for (const line of lines.reverse()) {
    const { type, uuid } = messageIn(line);
    if (type === 'assistant') answered = true;
    // Only the result of a tool, or the prompt itself, can follow the last message of the assistant.
    if (type === 'user') {
      if (!answered) return false;
      if (uuid === promptId) return true;
    }
  }
  return false;
}

async function readEnd(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    const length = Math.min(size, mostBytes);
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.toString('utf8');
  } finally {
    await file.close();
  }
}

/** Empty for an incomplete line. */
function messageIn(line: string): { type?: unknown; uuid?: unknown } {
  if (!line.includes('"user"') && !line.includes('"assistant"')) return {};
  try {
    return JSON.parse(line) ?? {};
  } catch {
    return {};
  }
}
