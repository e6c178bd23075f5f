/**
 * Bounds how many pieces of work run at a time. Others wait in the sequence of their arrival, a bounded number
 * of them for a bounded time.
 * Invariants: each slot that was taken is given back once, also if its waiter has gone.
 */
import type { BerthError } from './errors.ts';
import { within } from './waiting.ts';

export interface Slots {
  /** How many are taken. */
  readonly taken: number;
  /**
   * Returns the function that gives the slot back.
   * @throws the error of `busy`; the signal's reason if it aborts
   */
  take(signal: AbortSignal): Promise<() => void>;
}

/**
 * @param patience milliseconds that a piece of work waits
 * @param busy makes the error for work that finds no place, or has waited too long
 */
export function createSlots(
  most: number,
  mostWaiting: number,
  patience: number,
  busy: () => BerthError,
): Slots {
  const waiting: (() => void)[] = [];
  let taken = 0;

  const release = (): void => {
    const next = waiting.shift();
    if (next) next();
    else taken--;
  };
  const once = (): (() => void) => {
    let isFree = false;
    return () => {
      if (!isFree) release();
      isFree = true;
    };
  };

  return {
    get taken() {
      return taken;
    },
    async take(signal) {
      signal.throwIfAborted();
      if (taken < most) {
        taken++;
        return once();
      }
      if (waiting.length >= mostWaiting) throw busy();
      const { promise, resolve } = Promise.withResolvers<true>();
      const mine = (): void => resolve(true);
      waiting.push(mine);
      if (await within(promise, patience, signal)) return once();
      const place = waiting.indexOf(mine);
      // The slot may have come in the same moment.
      if (place < 0) release();
      else waiting.splice(place, 1);
      signal.throwIfAborted();
      throw busy();
    },
  };
}
