/**
 * A turn that has not ended, and whose session has served another prompt since. A text that asks the model to carry on
 * would continue the turn of the other prompt. So the rest of the task becomes a turn of its own: its text has the
 * whole prompt, and asks the model not to repeat what is done.
 */
import type { Transcripts } from '../sessions/transcripts.ts';
import { optedOut } from './lost-turn.ts';
import type { Prompt } from './prompt.ts';
import { unreadable } from './resume-prompt.ts';
import { turnIn } from './turn-in-transcript.ts';

/** The beginning of the text that the prompt follows. */
export const finishTask =
  'This session had another prompt before the following task was finished. Finish the task now, and do not repeat what is already done:';

/**
 * Whether the session of a prompt that continues its turn has served another prompt since. Call it while no other prompt
 * can be sent to the session.
 * @throws BerthError `volume_unwritable` if the transcript cannot be read
 */
export async function isOvertaken(
  transcripts: Pick<Transcripts, 'locate'>,
  { continues, overrides }: Pick<Prompt, 'continues' | 'overrides'>,
): Promise<boolean> {
  if (!continues) return false;
  const { sessionId, promptId } = continues;
  const hasSchema = overrides.outputSchema !== undefined;
  try {
    const turn = await turnIn(await transcripts.locate(sessionId), promptId, hasSchema);
    return turn.kind === 'overtaken';
  } catch (error) {
    throw unreadable(sessionId, error);
  }
}

/**
 * What changes of a prompt whose turn was overtaken. The session has the attachments already.
 * @throws BerthError `worker_recycled` if the caller opted out of the continuation
 */
export function finishingTurn(
  { text, onRecycle }: Pick<Prompt, 'text' | 'onRecycle'>,
  sessionId: string,
): Pick<Prompt, 'text' | 'attachments' | 'continues'> {
  if (onRecycle === 'fail') {
    const details = { session_id: sessionId };
    throw optedOut('its session has served another prompt since', { details });
  }
  return { text: `${finishTask}\n\n${text}`, attachments: undefined, continues: undefined };
}
