/**
 * Decides whose a result is. Besides prompts the CLI runs turns that nobody prompted for: scheduled
 * wake-ups and reports of background tasks.
 * Always holds: a result is a prompt's only if the CLI has said that it started that prompt, names its
 * id in the result, and has mixed nothing else into the turn. The order of results decides nothing.
 */
import type { TurnResult } from './turn-result.ts';

/** `unknown`: it may answer the prompt, or something else, or both. */
export type Owner = 'prompt' | 'nobody' | 'unknown';

export class Attribution {
  #promptId: string | undefined;
  #begun = false;
  #mixed = false;
  /** Scheduled wake-ups that have started and are not over. */
  readonly #wakeUps = new Set<string>();

  /** True once a turn has taken in the prompt. */
  get begun(): boolean {
    return this.#begun;
  }

  /** A prompt is handed over. */
  expect(promptId: string): void {
    this.#promptId = promptId;
    this.#begun = false;
    this.#mixed = false;
  }

  /** @returns false if that is a wake-up, no prompt */
  started(id: string): boolean {
    const ofPrompt = id === this.#promptId;
    if (ofPrompt) this.#begun = true;
    else this.#wakeUps.add(id);
    if (this.#begun && this.#wakeUps.size > 0) this.#mixed = true;
    return ofPrompt;
  }

  /** @returns true if the prompt was dropped: it never began, and no result will come */
  ended(id: string): boolean {
    this.#wakeUps.delete(id);
    return id === this.#promptId && !this.#begun;
  }

  /** Call it once for each result: the turn is over. */
  ownerOf({ promptIds, otherOrigin }: Pick<TurnResult, 'promptIds' | 'otherOrigin'>): Owner {
    this.#wakeUps.clear();
    const named = this.#promptId !== undefined && promptIds.includes(this.#promptId);
    if (!this.#begun && !named) return 'nobody';
    const alone = promptIds.length === 1 && !otherOrigin && !this.#mixed;
    if (!this.#begun || !named || !alone) return 'unknown';
    this.#promptId = undefined;
    this.#begun = false;
    return 'prompt';
  }
}
