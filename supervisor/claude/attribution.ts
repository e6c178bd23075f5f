/**
 * Decides to which prompt a result belongs. Besides prompts the CLI runs turns of its own:
 * scheduled wake-ups and reports of background tasks.
 * Invariants: a result belongs to a prompt only if the CLI reported the start of that prompt, names
 * its id in the result, and mixed nothing else into the turn. The order of results decides nothing.
 */
import type { TurnResult } from './turn-result.ts';

/** `unknown`: the result may belong to the prompt, to something else, or to both. */
export type Owner = 'prompt' | 'nobody' | 'unknown';

export class Attribution {
  #promptId: string | undefined;
  #begun = false;
  #mixed = false;
  /** Scheduled wake-ups that have started and not ended. */
  readonly #wakeUps = new Set<string>();

  /** True once a turn has taken in the prompt. */
  get begun(): boolean {
    return this.#begun;
  }

  /** Registers a prompt that is sent to the CLI. */
  expect(promptId: string): void {
    this.#promptId = promptId;
    this.#begun = false;
    this.#mixed = false;
  }

  /** @returns false if the id is that of a wake-up, not of a prompt */
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

  /** Call this once for each result: the turn is over. */
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
