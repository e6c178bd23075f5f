/**
 * Bounds how many requests run at a time. Others wait in the sequence of their arrival, a bounded number
 * of them for a bounded time.
 * Invariants: each slot that was taken is given back once, also if its waiter has gone.
 */
import { BerthError } from '../../shared/errors.ts';
import { within } from '../../shared/waiting.ts';

export interface Slots {
  /** How many are taken. */
  readonly taken: number;
  /**
   * Returns the function that gives the slot back.
   * @throws BerthError `overloaded`; the signal's reason if it aborts
   */
  take(signal: AbortSignal): Promise<() => void>;
}

/** @param patience milliseconds that a request waits */
export function createSlots(most: number, mostWaiting: number, patience: number): Slots {
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
      if (waiting.length >= mostWaiting) throw busy(most);
      const { promise, resolve } = Promise.withResolvers<true>();
      const mine = (): void => resolve(true);
      waiting.push(mine);
      if (await within(promise, patience, signal)) return once();
      const place = waiting.indexOf(mine);
      // The slot may have come in the same moment.
      if (place < 0) release();
      else waiting.splice(place, 1);
      signal.throwIfAborted();
      throw busy(most);
    },
  };
}

function busy(most: number): BerthError {
  return new BerthError(
    'overloaded',
    `cannot serve the request: ${most} others run already (BERTH_GATEWAY_TRANSFERS); try again later`,
  );
}
