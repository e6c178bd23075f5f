/**
 * Those who wait for a worker: bounded, and fair. Tokens take turns, and within a token its sessions
 * do (all prompts that begin a session count as one), each first come first served.
 * Always holds: a token's hundred prompts keep nobody else's single one waiting behind them, and in a
 * full line the token with most of it gives way.
 */
import { BerthError } from '../../shared/errors.ts';
import type { Order } from './order.ts';
import type { Worker } from './worker.ts';

export interface Ticket {
  readonly order: Order;
  /** The name of the caller's token. */
  readonly token: string;
  /** It goes on with a turn that had begun: before all others, and it is never sent away. */
  readonly goesOn: boolean;
  /** Resolves when the ticket is served. */
  readonly worker: Promise<Worker>;
}

export interface JoinOptions {
  order: Order;
  token: string;
  goesOn?: boolean;
  /** Gives the ticket back; its rejection is the signal's reason. */
  signal: AbortSignal;
  /** Told its place, from 1, whenever that changes. */
  onPlace: (place: number) => void;
}

interface Entry {
  ticket: Ticket;
  resolve: (worker: Worker) => void;
  reject: (reason: unknown) => void;
  unwatch: () => void;
  onPlace: (place: number) => void;
  place: number;
}

export class WaitingLine {
  readonly #limit: number;
  readonly #entries = new Map<Ticket, Entry>();
  /** When each token, and each of its sessions, was served last, by count. */
  readonly #lastServed = new Map<string, number>();
  /** Sessions of which a turn goes on elsewhere: their other prompts wait for its end. */
  readonly #held = new Set<string>();
  #served = 0;
  #ordered: Ticket[] | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Those who wait, who is next first; serving one does not disturb the walk. */
  get waiting(): readonly Ticket[] {
    this.#ordered ??= this.#inOrder();
    return this.#ordered;
  }

  /** Those of them who may be given a worker now, in the same order. */
  get servable(): readonly Ticket[] {
    if (this.#held.size === 0) return this.waiting;
    return this.waiting.filter(
      ({ order: { sessionId }, goesOn }) =>
        goesOn || sessionId === undefined || !this.#held.has(sessionId),
    );
  }

  /** From now on only who goes on with a turn may be served for that session. */
  hold(sessionId: string): void {
    this.#held.add(sessionId);
  }

  /** Ends `hold`. False if it was not held. */
  letGo(sessionId: string): boolean {
    return this.#held.delete(sessionId);
  }

  get length(): number {
    return this.#entries.size;
  }

  #inOrder(): Ticket[] {
    const tickets = [...this.#entries.keys()];
    const others = tickets.filter(({ goesOn }) => !goesOn);
    return [
      ...tickets.filter(({ goesOn }) => goesOn),
      ...fairOrder(others, this.#lastServed, this.#served),
    ];
  }

  join({ order, token, goesOn = false, signal, onPlace }: JoinOptions): Ticket {
    const { promise, resolve, reject } = Promise.withResolvers<Worker>();
    const ticket: Ticket = { order, token, goesOn, worker: promise };
    const leave = (): void => this.#settle(ticket, (entry) => entry.reject(signal.reason));
    signal.addEventListener('abort', leave, { once: true });
    const unwatch = () => signal.removeEventListener('abort', leave);
    this.#entries.set(ticket, { ticket, resolve, reject, unwatch, onPlace, place: 0 });
    this.#ordered = undefined;
    return ticket;
  }

  /**
   * Sends one away if the line is longer than its limit: the newest of the token that has most.
   * @param coming workers that are starting: so many do not wait for others
   * @param retryAfter seconds after which trying again may help
   */
  enforceLimit(coming: number, retryAfter: number): void {
    if (this.#entries.size - coming <= this.#limit) return;
    const newest = new Map<string, { ticket: Ticket; count: number }>();
    for (const ticket of this.#entries.keys()) {
      if (ticket.goesOn) continue;
      const count = (newest.get(ticket.token)?.count ?? 0) + 1;
      // Met again it is the newest: then the newcomer gives way among equals.
      newest.delete(ticket.token);
      newest.set(ticket.token, { ticket, count });
    }
    const most = Math.max(...[...newest.values()].map(({ count }) => count));
    const last = [...newest.values()].filter(({ count }) => count === most).at(-1);
    if (last) this.reject(last.ticket, this.#full(retryAfter));
  }

  /** Tells those whose place has changed. */
  tellPlaces(): void {
    for (const [index, ticket] of this.waiting.entries()) {
      const entry = this.#entries.get(ticket);
      if (!entry || entry.place === index + 1) continue;
      entry.place = index + 1;
      entry.onPlace(entry.place);
    }
  }

  serve(ticket: Ticket, worker: Worker): void {
    this.#served += 1;
    for (const name of flowsOf(ticket)) {
      this.#lastServed.delete(name);
      this.#lastServed.set(name, this.#served);
    }
    this.#forgetOld();
    this.#settle(ticket, (entry) => entry.resolve(worker));
  }

  reject(ticket: Ticket, error: BerthError): void {
    this.#settle(ticket, (entry) => entry.reject(error));
  }

  rejectWhere(fits: (order: Order) => boolean, error: BerthError): void {
    for (const ticket of this.waiting) if (fits(ticket.order)) this.reject(ticket, error);
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

  /** Who was served long ago counts like who never was. */
  #forgetOld(): void {
    for (const [name] of this.#lastServed) {
      if (this.#lastServed.size <= mostRemembered) return;
      this.#lastServed.delete(name);
    }
  }

  #full(retryAfter: number): BerthError {
    return new BerthError(
      'queue_full',
      `cannot take the prompt: ${this.#limit} are waiting already; try again later, or raise BERTH_QUEUE_LIMIT or BERTH_MAX_WORKERS`,
      { details: { retry_after: retryAfter } },
    );
  }
}

const mostRemembered = 10_000;

function flowsOf({ token, order }: Ticket): [token: string, session: string] {
  return [token, `${token} ${order.sessionId ?? ''}`];
}

/** Plays the turns that the tokens, and their sessions, will take. */
function fairOrder(
  tickets: readonly Ticket[],
  lastServed: ReadonlyMap<string, number>,
  served: number,
): Ticket[] {
  if (tickets.length < 2) return [...tickets];
  const tokens = new Map<string, Map<string, Ticket[]>>();
  for (const ticket of tickets) {
    const [token, session] = flowsOf(ticket);
    const sessions = tokens.get(token) ?? new Map<string, Ticket[]>();
    tokens.set(token, sessions);
    const own = sessions.get(session);
    if (own) own.push(ticket);
    else sessions.set(session, [ticket]);
  }
  const last = new Map(lastServed);
  const ordered: Ticket[] = [];
  for (let turn = served + 1; tokens.size > 0; turn++) {
    const token = longestWithout(tokens, last);
    const sessions = tokens.get(token) ?? new Map<string, Ticket[]>();
    const session = longestWithout(sessions, last);
    const own = sessions.get(session) ?? [];
    ordered.push(...own.splice(0, 1));
    if (own.length === 0) sessions.delete(session);
    if (sessions.size === 0) tokens.delete(token);
    last.set(token, turn);
    last.set(session, turn);
  }
  return ordered;
}

/** Who of them was served the longest time ago; among equals the one who came first. */
function longestWithout(flows: ReadonlyMap<string, unknown>, last: ReadonlyMap<string, number>) {
  let chosen = '';
  let least = Number.POSITIVE_INFINITY;
  for (const name of flows.keys()) {
    const when = last.get(name) ?? 0;
    if (when < least) [chosen, least] = [name, when];
  }
  return chosen;
}
