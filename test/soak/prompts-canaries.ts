/**
 * A canary for each prompt, by which its text is known wherever it turns up: a request to the model
 * may hold those of its own conversation and no other.
 */
import type { RecordedRequest } from '../support/messages-api.ts';

const pattern = /canary-\d+-[0-9a-f]{8}/g;

/** The prompts of one session; a fork goes on with those of the session that it copies. */
export class Conversation {
  readonly canaries = new Set<string>();
  readonly origin: Conversation | undefined;

  constructor(origin?: Conversation) {
    this.origin = origin;
  }

  has(canary: string): boolean {
    return this.canaries.has(canary) || (this.origin?.has(canary) ?? false);
  }
}

export class Canaries {
  readonly #conversations = new Map<string, Conversation>();
  /** Requests that were looked at. */
  looked = 0;
  readonly leaks: string[] = [];

  add(canary: string, conversation: Conversation): void {
    conversation.canaries.add(canary);
    this.#conversations.set(canary, conversation);
  }

  /** The newest one says whose request it is. */
  look({ body }: RecordedRequest): void {
    const found = JSON.stringify(body).match(pattern) ?? [];
    if (found.length === 0) return;
    this.looked += 1;
    const newest = found.at(-1) as string;
    const own = this.#conversations.get(newest);
    const foreign = [...new Set(found)].filter((canary) => !own?.has(canary));
    if (foreign.length > 0) this.leaks.push(`a request of ${newest} holds ${foreign.join(', ')}`);
  }
}
