/** What is known of a prompt before it has ended. */
import type { LossReason } from './lost-turn.ts';

export interface Progress {
  /** By performance.now(). */
  readonly accepted: number;
  /** Milliseconds that it has waited for a worker, for each that it has got. */
  queuedMs: number;
  /** Whether it waits for the end of a limit just now. */
  limited: boolean;
  recycled: number;
  recycleReason: LossReason | null;
}
