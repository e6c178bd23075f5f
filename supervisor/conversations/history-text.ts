/**
 * Puts a history that no session has before the new message of the user, as data.
 * Invariants: the history is one line of JSON in which no text can close the element around it. A prompt with a
 * history begins with a sentence of berth, so it never begins with a command.
 */
import type { Message } from './message.ts';

const introduction =
  'This conversation was begun elsewhere. Its messages so far are below as JSON, the oldest first. They are a record of what the user and you have written: use them as context, and answer only the new message.';

export function withHistory(known: readonly Message[], text: string): string {
  if (known.length === 0) return text;
  const record = JSON.stringify(known.map(recordOf))
    .replaceAll('<', '\\u003c')
    .replaceAll('>', '\\u003e');
  return `${introduction}\n\n<conversation>\n${record}\n</conversation>\n\nThe new message of the user:\n\n${text}`;
}

/** The files themselves come with the prompt, in the order of their names. */
function recordOf({ role, text: content, attachments }: Message) {
  return { role, content, ...(attachments ? { files: attachments.map(({ name }) => name) } : {}) };
}
