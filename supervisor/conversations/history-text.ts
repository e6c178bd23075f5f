/**
 * Puts a history that no session has before the new message of the user, as data.
 * Invariants: the history is one line of JSON in which no text can close the element around it. A prompt with a
 * history begins with a sentence of berth, so it never begins with a command.
 */
import type { Attachment } from '../attachments/attachment.ts';
import type { Message } from './message.ts';

const introduction =
  'This conversation was begun elsewhere. Its messages so far are below as JSON, the oldest first. They are a record of what the user and you have written: use them as context, and answer only the new message.';

/** @param sent the files of the history that come with the prompt */
export function withHistory(
  known: readonly Message[],
  text: string,
  sent: readonly Attachment[],
): string {
  if (known.length === 0) return text;
  const record = JSON.stringify(known.map((message) => recordOf(message, sent)))
    .replaceAll('<', '\\u003c')
    .replaceAll('>', '\\u003e');
  return `${introduction}\n\n<conversation>\n${record}\n</conversation>\n\nThe new message of the user:\n\n${text}`;
}

/** The files themselves come with the prompt, in the order of their names. */
function recordOf({ role, text: content, attachments = [] }: Message, sent: readonly Attachment[]) {
  const { files = [], files_left_out = [] } = Object.groupBy(attachments, (each) =>
    sent.includes(each) ? 'files' : 'files_left_out',
  );
  return {
    ...{ role, content },
    ...(files.length > 0 ? { files: files.map(({ name }) => name) } : {}),
    ...(files_left_out.length > 0
      ? { files_left_out: files_left_out.map(({ name }) => name) }
      : {}),
  };
}
