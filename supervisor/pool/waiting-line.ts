/**
 * The queue of the prompts that wait for a worker: bounded and fair. Tokens take turns; within a token it is
 * first come, first served. The lanes of the queue are served one after the other.
 * Invariants: a token with a hundred prompts does not delay the single prompt of another token; a full queue
 * rejects the newest prompt of the token that has most. Jobs do not count for the limit of the queue: their number
 * is bounded elsewhere, and a job must not keep an interactive prompt out.
 */
import { BerthError } from '../../shared/errors.ts';
import type { ProcessSpec } from './process-spec.ts';
import type { Worker } from './worker.ts';

/** The lanes of the queue, the first one first: a caller waits for an interactive prompt, and for no job. */
export const lanes = ['interactive', 'job', 'background'] as const;

export type Lane = (typeof lanes)[number];

export interface Ticket {
  readonly spec: ProcessSpec;
  readonly lane: Lane;
  /** The name of the caller's token. */
  readonly token: string;
  /** The ticket continues a turn that had begun: it is served first, and never rejected for space. */
  readonly continues: boolean;
  /** Resolves when the ticket is served. */
  readonly worker: Promise<Worker>;
}

export interface JoinOptions {
  spec: ProcessSpec;
  token: string;
  /** `interactive` if absent. */
  lane?: Lane | undefined;
  continues?: boolean;
  /** Takes the ticket out of the queue; it then rejects with the signal's reason. */
  signal: AbortSignal;
  /** Called with the place of the ticket, from 1, whenever the place changes. */
  onPlace: (place: number) => void;
}

interface Entry extends Ticket {
  resolve: (worker: Worker) => void;
  reject: (reason: unknown) => void;
  unwatch: () => void;
  onPlace: (place: number) => void;
  place: number;
}

export class WaitingLine {
  readonly #limit: number;
  readonly #entries = new Map<Ticket, Entry>();
  /** When each token was served last, as the number of that serving. */
  readonly #lastServed = new Map<string, number>();
  /** Sessions whose turn is continued in another process: their other prompts wait until that has ended. */
  readonly #held = new Set<string>();
  #served = 0;
  #ordered: readonly Entry[] | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The tickets in the order in which they are served. A later change leaves the returned list as it is. */
  get waiting(): readonly Ticket[] {
    return this.#inOrder();
  }

  /** Those tickets that may be given a worker now, in the same order. */
  get servable(): readonly Ticket[] {
    if (this.#held.size === 0) return this.waiting;
    return this.waiting.filter(
      ({ spec: { sessionId }, continues }) =>
        continues || sessionId === undefined || !this.#held.has(sessionId),
    );
  }

  /** Until `letGo`, only a ticket that continues a turn is served for that session. */
  hold(sessionId: string): void {
    this.#held.add(sessionId);
  }

  /** Ends `hold`. @returns false if the session was not held */
  letGo(sessionId: string): boolean {
    return this.#held.delete(sessionId);
  }

  get length(): number {
    return this.#entries.size;
  }

  #inOrder(): readonly Entry[] {
    if (this.#ordered) return this.#ordered;
    const entries = [...this.#entries.values()];
    const first = entries.filter(({ continues }) => continues);
    const others = lanes.map((lane) =>
      fairOrder(
        entries.filter((entry) => !entry.continues && entry.lane === lane),
        this.#lastServed,
        this.#served,
      ),
    );
    this.#ordered = [...first, ...others.flat()];
    return this.#ordered;
  }

  join(options: JoinOptions): Ticket {
    const { spec, token, lane = 'interactive', continues = false, signal, onPlace } = options;
    const { promise, resolve, reject } = Promise.withResolvers<Worker>();
    const leave = (): void => this.#settle(entry, () => reject(signal.reason));
    signal.addEventListener('abort', leave, { once: true });
    const entry: Entry = {
      ...{ spec, token, lane, continues, worker: promise, resolve, reject, onPlace, place: 0 },
      unwatch: () => signal.removeEventListener('abort', leave),
    };
    this.#entries.set(entry, entry);
    this.#ordered = undefined;
    return entry;
  }

  /**
   * Rejects one ticket if the queue is longer than its limit: the newest ticket of the token that has most.
   * @param coming workers that are starting: so many tickets do not wait for other prompts
   * @param retryAfter seconds after which another try may succeed
   */
  enforceLimit(coming: number, retryAfter: number): void {
    const counted = [...this.#entries.keys()].filter(({ lane }) => lane === 'interactive');
    if (counted.length - coming <= this.#limit) return;
    const newest = new Map<string, { ticket: Ticket; count: number }>();
    for (const ticket of counted) {
      if (ticket.continues) continue;
      const count = (newest.get(ticket.token)?.count ?? 0) + 1;
      // Inserted again at the end: among tokens with the same count the newest ticket is rejected.
      newest.delete(ticket.token);
      newest.set(ticket.token, { ticket, count });
    }
    const most = Math.max(...[...newest.values()].map(({ count }) => count));
    const last = [...newest.values()].filter(({ count }) => count === most).at(-1);
    if (last) this.reject(last.ticket, this.#full(retryAfter));
  }

  /** Reports the place of each ticket whose place has changed. */
  reportPlaces(): void {
    let place = 0;
    for (const entry of this.#inOrder()) {
      place += 1;
      if (entry.place === place) continue;
      entry.place = place;
      try {
        entry.onPlace(place);
      } catch (error) {
        // Only the ticket whose listener failed is lost. A worker must not be given to it later.
        this.#settle(entry, ({ reject }) => reject(error));
      }
    }
  }

  serve(ticket: Ticket, worker: Worker): void {
    this.#settle(ticket, ({ token, resolve }) => {
      this.#served += 1;
      this.#lastServed.set(token, this.#served);
      resolve(worker);
    });
  }

  reject(ticket: Ticket, error: BerthError): void {
    this.#settle(ticket, (entry) => entry.reject(error));
  }

  rejectWhere(fits: (spec: ProcessSpec) => boolean, error: BerthError): void {
    for (const ticket of this.waiting) if (fits(ticket.spec)) this.reject(ticket, error);
  }

  rejectAll(error: BerthError): void {
    for (const ticket of this.waiting) this.reject(ticket, error);
  }

  #settle(ticket: Ticket, how: (entry: Entry) => void): void {
    const entry = this.#entries.get(ticket);
    if (!entry) return;
    this.#entries.delete(ticket);
    this.#ordered = undefined;
    entry.unwatch();
    how(entry);
  }

  #full(retryAfter: number): BerthError {
    return new BerthError(
      'queue_full',
      `cannot accept the prompt: ${this.#limit} prompts are already waiting; try again later, or raise BERTH_QUEUE_LIMIT or BERTH_MAX_WORKERS`,
      { details: { retry_after: retryAfter } },
    );
  }
}

/** The entries in the order in which their tokens take turns; the token served longest ago comes first. */
function fairOrder(
  entries: readonly Entry[],
  lastServed: ReadonlyMap<string, number>,
  served: number,
): readonly Entry[] {
  const tokens = [...Map.groupBy(entries, ({ token }) => token)].map(([token, waiting]) => ({
    waiting,
    last: lastServed.get(token) ?? 0,
  }));
  const ordered: Entry[] = [];
  for (let turn = served + 1; ordered.length < entries.length; turn++) {
    const left = tokens.filter(({ waiting }) => waiting.length > 0);
    const next = left.reduce((one, other) => (other.last < one.last ? other : one));
    ordered.push(...next.waiting.splice(0, 1));
    next.last = turn;
  }
  return ordered;
}
