/**
 * Going on with a turn whose process was lost: what a new process of the session is told.
 * The CLI itself fills the gap in the conversation: it tells the model that the outcome of the tool
 * that ran is unknown (as 2.1.330 does), so tools have run at least once and nothing is repeated blindly.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** What a process is told that resumes a session in whose transcript the prompt stands. */
export const carryOn = 'Your process was replaced. Carry on where you stopped.';

/** What a process is told whose turn ended because its login had to be renewed first. */
export const carryOnLoggedIn = 'The login was renewed. Carry on where you stopped.';

/** Bytes of a transcript that are searched, from its end. */
const searched = 64 * 1024 * 1024;
const piece = 1024 * 1024;

/**
 * Whether a prompt stands in the transcript: then a process that resumes the session can carry on, else
 * the prompt must be sent again. One that cannot be read has nothing to carry on with; never rejects.
 * @param promptId the id with which the prompt was handed over, which the CLI writes beside it
 */
export async function stands(transcript: string, promptId: string): Promise<boolean> {
  try {
    return await isWritten(transcript, promptId);
  } catch {
    return false;
  }
}

async function isWritten(transcript: string, promptId: string): Promise<boolean> {
  const wanted = Buffer.from(`"uuid":"${promptId}"`);
  const file = await open(transcript, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    const buffer = Buffer.alloc(piece + wanted.length);
    for (let end = size; end > Math.max(0, size - searched); end -= piece) {
      const start = Math.max(0, end - piece);
      // Pieces overlap, so that what lies across their border is found.
      const { bytesRead } = await file.read(buffer, 0, end - start + wanted.length, start);
      if (buffer.subarray(0, bytesRead).includes(wanted)) return true;
    }
    return false;
  } finally {
    await file.close();
  }
}
