/**
 * What the stand-in was asked, oldest first and bounded, and who waits for what.
 * A waiter is settled exactly once and leaves no timer or listener behind.
 */
import type { RecordedRequest } from './request.ts';

const kept = 1_000;

export class RequestLog {
  readonly requests: RecordedRequest[] = [];
  readonly #waiters = new Set<(request: RecordedRequest) => void>();

  add(request: RecordedRequest): void {
    this.requests.push(request);
    if (this.requests.length > kept) this.requests.shift();
    this.changed(request);
  }

  /** Tells the waiters that a request came or that its outcome changed. */
  changed(request: RecordedRequest): void {
    for (const waiter of [...this.#waiters]) waiter(request);
  }

  /** @param until a signal, or milliseconds from now. */
  async wait(
    predicate: (request: RecordedRequest) => boolean,
    until: AbortSignal | number,
  ): Promise<RecordedRequest> {
    const known = this.requests.find(predicate);
    if (known) return known;
    const signal = typeof until === 'number' ? AbortSignal.timeout(until) : until;
    const { promise, resolve, reject } = Promise.withResolvers<RecordedRequest>();
    const waiter = (request: RecordedRequest) => {
      try {
        if (predicate(request)) resolve(request);
      } catch (error) {
        reject(error);
      }
    };
    const abort = () => {
      const seen = this.requests.map((request) => `${request.method} ${request.path}`);
      reject(new Error(`no such request came; came: ${seen.slice(-20).join(', ') || 'none'}`));
    };
    this.#waiters.add(waiter);
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
    // AbortSignal.timeout does not keep the process alive, and a test that waits should fail by
    // its deadline rather than by an empty event loop.
    const alive = setInterval(() => {}, 60_000);
    try {
      return await promise;
    } finally {
      clearInterval(alive);
      this.#waiters.delete(waiter);
      signal.removeEventListener('abort', abort);
    }
  }
}
