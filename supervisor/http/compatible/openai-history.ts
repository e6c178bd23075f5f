/**
 * Collects the messages of OpenAI's APIs: instructions first, then the conversation.
 * Invariant: instructions in the middle of a conversation are refused, because a session has its instructions from
 * its beginning.
 */
import type { BerthError } from '../../../shared/errors.ts';
import type { Message } from '../../conversations/message.ts';
import { nameOf } from './content.ts';
import { cannotUse } from './field-rules.ts';

export function isInstructions(role: unknown): boolean {
  return role === 'system' || role === 'developer';
}

export class OpenAiHistory {
  readonly instructions: string[] = [];
  readonly messages: Message[] = [];
  /** The field of the request with the messages. */
  readonly #field: string;

  constructor(field: string) {
    this.#field = field;
  }

  /** @throws BerthError `invalid_request` after the first message of the conversation */
  instruct(text: string, field: string): void {
    if (this.messages.length > 0) {
      const cause = 'instructions follow a message of the conversation';
      throw cannotUse(field, cause, `send them first in ${this.#field}`);
    }
    this.instructions.push(text);
  }

  add(message: Message): void {
    this.messages.push(message);
  }

  ofTools(field: string): BerthError {
    const cause = 'it belongs to tools of the client, which the CLI cannot call';
    return cannotUse(field, cause, 'send a history without tools');
  }

  unknownRole(role: unknown, field: string): BerthError {
    if (role === 'tool' || role === 'function') return this.ofTools(field);
    const named = nameOf(role);
    return cannotUse(`${field}.role`, `${named} is no role`, 'send system, user or assistant');
  }
}
