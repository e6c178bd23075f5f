/** Those who wait for a worker, in the order in which they came, bounded. */
import { BerthError } from '../../shared/errors.ts';
import type { Worker } from './worker.ts';

export interface Ticket {
  readonly sessionId: string | undefined;
  /** Resolves when the ticket is served. */
  readonly worker: Promise<Worker>;
}

interface Entry {
  resolve: (worker: Worker) => void;
  reject: (reason: unknown) => void;
  unwatch: () => void;
}

export class WaitingLine {
  readonly #limit: number;
  readonly #entries = new Map<Ticket, Entry>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Those who wait, first come first; a copy, so that serving one does not disturb the walk. */
  get waiting(): Ticket[] {
    return [...this.#entries.keys()];
  }

  get length(): number {
    return this.#entries.size;
  }

  /** From 1; 0 if the ticket does not wait any more. */
  placeOf(ticket: Ticket): number {
    return this.waiting.indexOf(ticket) + 1;
  }

  /** A ticket for the session, or for a new one; aborting `signal` gives it back. */
  join(sessionId: string | undefined, signal: AbortSignal): Ticket {
    const { promise, resolve, reject } = Promise.withResolvers<Worker>();
    const ticket: Ticket = { sessionId, worker: promise };
    const leave = (): void => this.#settle(ticket, (entry) => entry.reject(signal.reason));
    signal.addEventListener('abort', leave, { once: true });
    const unwatch = () => signal.removeEventListener('abort', leave);
    this.#entries.set(ticket, { resolve, reject, unwatch });
    return ticket;
  }

  /**
   * Sends the ticket away if the line is longer than its limit.
   * @param coming workers that are starting: so many do not wait for others
   */
  enforceLimit(ticket: Ticket, coming: number): void {
    if (this.#entries.size - coming <= this.#limit) return;
    this.reject(ticket, this.#full());
  }

  serve(ticket: Ticket, worker: Worker): void {
    this.#settle(ticket, (entry) => entry.resolve(worker));
  }

  reject(ticket: Ticket, error: BerthError): void {
    this.#settle(ticket, (entry) => entry.reject(error));
  }

  rejectSession(sessionId: string | undefined, error: BerthError): void {
    for (const ticket of this.waiting) {
      if (ticket.sessionId === sessionId) this.reject(ticket, error);
    }
  }

  rejectAll(error: BerthError): void {
    for (const ticket of this.waiting) this.reject(ticket, error);
  }

  #settle(ticket: Ticket, how: (entry: Entry) => void): void {
    const entry = this.#entries.get(ticket);
    if (!entry) return;
    this.#entries.delete(ticket);
    entry.unwatch();
    how(entry);
  }

  #full(): BerthError {
    return new BerthError(
      'queue_full',
      `cannot take the prompt: ${this.#limit} are waiting already; try again later, or raise BERTH_QUEUE_LIMIT or BERTH_MAX_WORKERS`,
    );
  }
}
