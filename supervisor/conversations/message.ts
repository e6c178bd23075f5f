import { BerthError } from '../../shared/errors.ts';

/** One message of a conversation, as every API for other clients is read into it. */
export interface Message {
  role: 'user' | 'assistant';
  text: string;
}

/**
 * Splits a history at its last answer: what its session has already, and the new message of the user.
 * @throws BerthError `invalid_request` if nothing of the user follows the last answer
 */
export function splitHistory(messages: readonly Message[]): {
  known: readonly Message[];
  text: string;
} {
  const answered = messages.findLastIndex(({ role }) => role === 'assistant') + 1;
  const fresh = messages.slice(answered);
  if (fresh.length > 0) {
    return { known: messages.slice(0, answered), text: fresh.map(({ text }) => text).join('\n\n') };
  }
  throw new BerthError(
    'invalid_request',
    'cannot answer the conversation: it does not end with a message of the user, and the CLI cannot continue a given answer; end it with a message of the user',
    { details: { field: 'messages' } },
  );
}
