/**
 * The registry of the prompts under way. The pause, revoked tokens, a lost login, the drain, the removal and
 * the interruption of a session, and the state of a session are all answered from here.
 * Invariants: a prompt is in the registry from its acceptance until it has ended; no other part keeps a list
 * of prompts.
 */
import type { BerthError } from '../../shared/errors.ts';
import { within } from '../../shared/waiting.ts';
import { LivePrompt } from './live-prompt.ts';
import type { Prompt } from './prompt.ts';

export class LivePrompts {
  /** In the order of their acceptance. */
  readonly #prompts = new Set<LivePrompt>();

  get size(): number {
    return this.#prompts.size;
  }

  accept(prompt: Prompt): LivePrompt {
    const live = new LivePrompt(prompt);
    this.#prompts.add(live);
    return live;
  }

  end(live: LivePrompt): void {
    this.#prompts.delete(live);
    live.become('ended');
  }

  /** The prompt whose turn serves that session. While one turn ends, the next one may have begun. */
  of(sessionId: string): LivePrompt | undefined {
    return [...this.#prompts].findLast((live) => live.serves(sessionId));
  }

  /**
   * Interrupts prompts.
   * @param reasonFor the error with which a prompt is to end; undefined if the prompt may go on
   */
  interrupt(reasonFor: (live: LivePrompt) => BerthError | undefined): void {
    for (const live of this.#prompts) {
      const reason = reasonFor(live);
      if (reason) live.interrupt(reason);
    }
  }

  /**
   * Resolves when all prompts of this moment have ended, after `milliseconds` at most, or when `now` aborts.
   */
  async idle(milliseconds: number, now?: AbortSignal): Promise<void> {
    await within(Promise.all([...this.#prompts].map(({ over }) => over)), milliseconds, now);
  }
}
