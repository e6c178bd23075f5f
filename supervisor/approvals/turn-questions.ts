/**
 * The questions of one turn about calls of tools: each is answered when its decision is there.
 * Invariants: each question gets one answer at most. A question that the CLI takes back, or whose turn is over, gets none.
 */
import { asBerthError } from '../../shared/errors.ts';
import { notGranted, type PermissionAnswer, type PermissionAsk } from '../claude/permission.ts';
import type { ClaudeProcess } from '../claude/process.ts';

export interface QuestionsOptions {
  signal: AbortSignal;
  approve?: ((ask: PermissionAsk, signal: AbortSignal) => Promise<PermissionAnswer>) | undefined;
}

export class Questions {
  readonly #process: Pick<ClaudeProcess, 'answerPermission'>;
  readonly #options: QuestionsOptions;
  readonly #giveUp: (reason: unknown) => void;
  readonly #open = new Map<string, AbortController>();

  /** @param giveUp ends the turn, whose process must not get an answer any more */
  constructor(
    process: Pick<ClaudeProcess, 'answerPermission'>,
    options: QuestionsOptions,
    giveUp: (reason: unknown) => void,
  ) {
    this.#process = process;
    this.#options = options;
    this.#giveUp = giveUp;
  }

  /** Resolves when the question has its answer or needs none; never rejects. */
  async ask(ask: PermissionAsk): Promise<void> {
    const { signal, approve } = this.#options;
    const over = new AbortController();
    this.#open.set(ask.requestId, over);
    try {
      const answer = approve
        ? await approve(ask, AbortSignal.any([signal, over.signal]))
        : notGranted(ask.tool);
      if (!over.signal.aborted) this.#process.answerPermission(ask.requestId, answer);
    } catch (error) {
      // After the end of the turn, and after an interrupt, the CLI needs no answer.
      if (!over.signal.aborted && !signal.aborted) this.#giveUp(asBerthError(error));
    } finally {
      this.#open.delete(ask.requestId);
    }
  }

  /** The CLI needs no answer any more. */
  takeBack(requestId: string): void {
    this.#open.get(requestId)?.abort(new Error('the CLI has taken the question back'));
  }

  /** The turn is over. */
  end(): void {
    for (const over of this.#open.values()) over.abort(new Error('the turn is over'));
  }
}
