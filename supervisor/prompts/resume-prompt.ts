/**
 * Continues a turn whose process was lost: the text for the new process of the session, and whether its transcript has
 * the prompt. The CLI fills the gap in the conversation itself: it reports to the model that the outcome of the running
 * tool is unknown (as 2.1.330 does). So a tool runs at least once, and nothing is repeated blindly.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

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

/**
 * Whether the transcript has one of the texts of a prompt: then a process that resumes the session can continue the
 * turn, otherwise the prompt must be sent again. False for a transcript that cannot be read; never
 * rejects.
 * @param promptIds the ids with which the texts were sent; the CLI writes each beside its text
 */
export async function isInTranscript(
  transcript: string,
  promptIds: readonly string[],
): Promise<boolean> {
  try {
    const file = await open(transcript, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      for (const promptId of promptIds) {
        if ((await findInTranscript(file, promptId)) !== undefined) return true;
      }
      return false;
    } finally {
      await file.close();
    }
  } catch {
    return false;
  }
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
