/**
 * Waits that end with a promise, a deadline or an AbortSignal, whichever comes first.
 * Invariants: a wait that has ended leaves no timer and no listener behind. The work itself
 * continues, and a later failure of that work is not an unhandled rejection. A limit that is
 * already reached has priority over work that has already resolved.
 */

/** Timers of Node overflow above this and fire at once. */
const longestTimer = 2 ** 31 - 1;

type Limit = 'deadline' | 'abort';

/**
 * Returns the result of the work.
 * @throws what the work rejects with; the signal's reason as soon as the signal aborts
 */
export async function abortable<T>(work: PromiseLike<T>, signal: AbortSignal): Promise<T> {
  const first = await race(work, undefined, signal);
  if (typeof first === 'string') throw signal.reason;
  return first.value;
}

/**
 * Returns the result of the work.
 * @throws what the work rejects with; `late()` after so many milliseconds
 */
export async function withDeadline<T>(
  work: PromiseLike<T>,
  milliseconds: number,
  late: () => unknown,
): Promise<T> {
  const first = await race(work, milliseconds, undefined);
  if (typeof first === 'string') throw late();
  return first.value;
}

/**
 * Returns the result of the work, or undefined after so many milliseconds, or when the signal aborts.
 * @throws what the work rejects with in time
 */
export async function within<T>(
  work: PromiseLike<T>,
  milliseconds: number,
  signal?: AbortSignal,
): Promise<T | undefined> {
  const first = await race(work, milliseconds, signal);
  return typeof first === 'string' ? undefined : first.value;
}

/** Resolves after so many milliseconds, or when the signal aborts; never rejects. */
export async function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  await within(new Promise<never>(() => {}), milliseconds, signal);
}

/**
 * Resolves after so many milliseconds.
 * @throws the signal's reason as soon as the signal aborts
 */
export async function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  await pause(milliseconds, signal);
  signal.throwIfAborted();
}

/** Resolves when the signal aborts; never rejects. For signals that end with their waiter. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

async function race<T>(
  work: PromiseLike<T>,
  milliseconds: number | undefined,
  signal: AbortSignal | undefined,
): Promise<{ value: T } | Limit> {
  const { promise: limit, resolve } = Promise.withResolvers<Limit>();
  const abort = (): void => resolve('abort');
  const timer =
    milliseconds !== undefined &&
    setTimeout(() => resolve('deadline'), Math.min(milliseconds, longestTimer));
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([limit, work.then((value) => ({ value }))]);
  } finally {
    if (timer) clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}
