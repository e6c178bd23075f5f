/**
 * The turn of a prompt in one CLI process: from the line that sends the prompt to the result or the error.
 * Invariants: one turn at a time. Each promise settles: by a result that belongs to the prompt, or by an error.
 */
import type { BerthError } from '../../shared/errors.ts';
import { within } from '../../shared/waiting.ts';
import { Attribution, type Owner } from './attribution.ts';
import { droppedError, UnclearResult } from './process-errors.ts';
import type { CliMessage } from './protocol.ts';
import type { TurnResult } from './turn-result.ts';

interface Turn {
  onMessage: (message: CliMessage) => void;
  resolve: (result: TurnResult) => void;
  reject: (error: BerthError) => void;
  /** Resolves when the turn has ended, with a result or an error. */
  over: Promise<void>;
}

export class PromptTurn {
  readonly #attribution = new Attribution();
  #turn: Turn | undefined;

  /** Whether a prompt was sent and has no result yet. */
  get running(): boolean {
    return this.#turn !== undefined;
  }

  /** Whether the CLI has taken in the prompt. */
  get begun(): boolean {
    return this.#attribution.begun;
  }

  /** The prompt is about to be sent. Call this only if no turn runs. */
  begin(promptId: string, onMessage: (message: CliMessage) => void): Promise<TurnResult> {
    const { promise, resolve, reject } = Promise.withResolvers<TurnResult>();
    const settled = (): undefined => undefined;
    const over = promise.then(settled, settled);
    this.#attribution.expect(promptId);
    this.#turn = { onMessage, resolve, reject, over };
    return promise;
  }

  /** Resolves when no turn runs, or after `milliseconds`. */
  async overWithin(milliseconds: number): Promise<void> {
    if (this.#turn) await within(this.#turn.over, milliseconds);
  }

  /** Passes a message of the turn on. */
  pass(message: CliMessage): void {
    this.#turn?.onMessage(message);
  }

  /** @returns false if the CLI has started something else than the prompt */
  started(id: string): boolean {
    return this.#attribution.started(id);
  }

  /** The CLI has ended a prompt or a wake-up: a prompt that never began was dropped. */
  ended(id: string): void {
    if (!this.#attribution.ended(id)) return;
    const turn = this.#turn;
    this.#turn = undefined;
    turn?.reject(droppedError());
  }

  /** Ends the turn, if the result belongs to the prompt or may belong to it. */
  takeResult(result: TurnResult): Owner {
    const owner = this.#attribution.ownerOf(result);
    if (owner === 'nobody') return owner;
    const turn = this.#turn;
    this.#turn = undefined;
    if (owner === 'prompt') turn?.resolve(result);
    else turn?.reject(new UnclearResult(result));
    return owner;
  }

  /** Lets the caller of the prompt fail. The turn itself continues until the process has ended. */
  reject(error: BerthError): void {
    this.#turn?.reject(error);
  }

  /** The process has ended. */
  fail(error: BerthError): void {
    this.#turn?.reject(error);
    this.#turn = undefined;
  }
}
