/**
 * The messages of a conversation, as clients send them with each request: merges neighbours of one role, and splits a
 * history into what its session has already and the new message.
 */
import { BerthError } from '../../shared/errors.ts';
import type { Attachment } from '../attachments/attachment.ts';

/** One message of a conversation, as every API for other clients is read into it. */
export interface Message {
  role: 'user' | 'assistant';
  text: string;
  /** Pictures, PDFs and other files of the user; absent: none. */
  attachments?: readonly Attachment[];
}

/** One message of several neighbours of one role. */
export function merged(messages: readonly Message[]): Pick<Message, 'text' | 'attachments'> {
  const attachments = attachmentsIn(messages);
  const texts = messages.map(({ text }) => text).filter((text) => text.trim() !== '');
  const text = texts.join('\n\n');
  return attachments.length > 0 ? { text, attachments } : { text };
}

/** All files of the messages, in their order. */
export function attachmentsIn(messages: readonly Message[]): readonly Attachment[] {
  return messages.flatMap(({ attachments = [] }) => attachments);
}

/**
 * Splits a history at its last answer: what its session has already, and the new message of the user.
 * @throws BerthError `invalid_request` if nothing of the user follows the last answer, or only files
 */
export function splitHistory(messages: readonly Message[]): {
  known: readonly Message[];
  fresh: Message;
} {
  const answered = messages.findLastIndex(({ role }) => role === 'assistant') + 1;
  const fresh = messages.slice(answered);
  if (fresh.length === 0) {
    throw unanswerable(
      'it does not end with a message of the user, and the CLI cannot continue a given answer; end it with a message of the user',
    );
  }
  const { text, ...files } = merged(fresh);
  if (text === '') {
    throw unanswerable('its new message has only files; say in a text what to do with them');
  }
  return { known: messages.slice(0, answered), fresh: { role: 'user', text, ...files } };
}

function unanswerable(cause: string): BerthError {
  return new BerthError('invalid_request', `cannot answer the conversation: ${cause}`, {
    details: { field: 'messages' },
  });
}
