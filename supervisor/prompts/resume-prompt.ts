/**
 * Continues a turn whose process was lost: the text for the new process of the session, and whether its transcript has
 * the prompt. The CLI fills the gap in the conversation itself: it reports to the model that the outcome of the running
 * tool is unknown (as 2.1.330 does). So a tool runs at least once, and nothing is repeated blindly.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { BerthError, isAbsent, messageOf, systemCode } from '../../shared/errors.ts';

/** The text for a process that resumes a session whose transcript has the prompt. */
export const carryOn = 'Your process was replaced. Carry on where you stopped.';

/** The text for a process whose turn ended because the API refused a login that was renewed since. */
export const carryOnLoggedIn = 'The login was renewed. Carry on where you stopped.';

/** The beginning of the text for a process that resumes a session whose turn waited for an approval. */
export const carryOnDecided =
  'Your process was replaced while a call waited for the approval of a person.';

/** Whether a text is one of berth's that continue a turn. A note about the checkout may follow it. */
export function continuesTurn(text: string | undefined): boolean {
  return [carryOn, carryOnLoggedIn, carryOnDecided].some((start) => text?.startsWith(start));
}

/** Bytes of a transcript that are searched, from its end. */
const searched = 64 * 1024 * 1024;
const piece = 1024 * 1024;

/** Bytes that are searched for a prompt: a prompt that is not found is sent again, and its tools run twice. */
export const wholeFile = Number.POSITIVE_INFINITY;

/**
 * Whether the transcript has one of the texts of a prompt: then a process that resumes the session can continue the
 * turn, otherwise the prompt must be sent again.
 * @param promptIds the ids with which the texts were sent; the CLI writes each beside its text
 * @throws Error of the system if the transcript is there and cannot be read
 */
export async function isInTranscript(
  transcript: string,
  promptIds: readonly string[],
): Promise<boolean> {
  const file = await openTranscript(transcript);
  if (!file) return false;
  try {
    for (const promptId of promptIds) {
      if ((await findInTranscript(file, promptId, wholeFile)) !== undefined) return true;
    }
    return false;
  } finally {
    await file.close();
  }
}

/** @returns undefined if there is no such file, or a symlink. @throws Error of the system */
export async function openTranscript(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    // A symlink is no transcript of the CLI.
    if (isAbsent(error) || systemCode(error) === 'ELOOP') return undefined;
    throw error;
  }
}

/** A transcript that cannot be read may have the turn: the prompt must not be sent again. */
export function unreadable(sessionId: string, error: unknown): BerthError {
  return new BerthError(
    'volume_unwritable',
    `cannot continue the turn: the transcript of its session cannot be read: ${messageOf(error)}; check the volume and the owner of its files`,
    { cause: error, details: { session_id: sessionId } },
  );
}

/**
 * The position of a prompt's id in its line; undefined if the transcript does not have the prompt.
 * @param most bytes that are searched, from the end
 */
export async function findInTranscript(
  file: FileHandle,
  promptId: string,
  most = searched,
): Promise<number | undefined> {
  const wanted = Buffer.from(`"uuid":"${promptId}"`);
  const { size } = await file.stat();
  const buffer = Buffer.alloc(piece + wanted.length);
  for (let end = size; end > Math.max(0, size - most); end -= piece) {
    const start = Math.max(0, end - piece);
    // Pieces overlap, so that an id across their border is found.
    const { bytesRead } = await file.read(buffer, 0, end - start + wanted.length, start);
    const index = buffer.subarray(0, bytesRead).lastIndexOf(wanted);
    if (index >= 0) return start + index;
  }
  return undefined;
}
