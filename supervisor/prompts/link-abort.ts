/**
 * One abort that brings about another. AbortSignal.any does the same for any number of signals, by weak
 * references that the collector of garbage has to clear: several of these are made for each prompt.
 */

/**
 * Aborts `controller` when `signal` aborts, for the same reason; at once if it has already.
 * @returns ends that; until then the signal keeps the controller
 */
export function follow(signal: AbortSignal, controller: AbortController): () => void {
  const abort = (): void => controller.abort(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  return () => signal.removeEventListener('abort', abort);
}
