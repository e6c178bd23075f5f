/**
 * Those who wait for a worker: bounded, and fair. Tokens take turns, and within a token its sessions
 * do (all prompts that begin a session count as one), each first come first served.
 * Always holds: a token's hundred prompts keep nobody else's single one waiting behind them, and in a
 * full line the token with most of it gives way.
 */
import { BerthError } from '../../shared/errors.ts';
import type { ProcessSpec } from './process-spec.ts';
import type { Worker } from './worker.ts';

export interface Ticket {
  readonly spec: ProcessSpec;
  /** The name of the caller's token. */
  readonly token: string;
  /** It goes on with a turn that had begun: before all others, and it is never sent away. */
  readonly goesOn: boolean;
  /** Resolves when the ticket is served. */
  readonly worker: Promise<Worker>;
}

export interface JoinOptions {
  spec: ProcessSpec;
  token: string;
  goesOn?: boolean;
  /** Gives the ticket back; its rejection is the signal's reason. */
  signal: AbortSignal;
  /** Told its place, from 1, whenever that changes. */
  onPlace: (place: number) => void;
}

interface Entry extends Ticket {
  /** Its session's turns among its token's; those that begin a session have one name. */
  readonly flow: string;
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
  #ordered: readonly Entry[] | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Those who wait, who is next first; serving one does not disturb the walk. */
  get waiting(): readonly Ticket[] {
    return this.#inOrder();
  }

  /** Those of them who may be given a worker now, in the same order. */
  get servable(): readonly Ticket[] {
    if (this.#held.size === 0) return this.waiting;
    return this.waiting.filter(
      ({ spec: { sessionId }, goesOn }) =>
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

  #inOrder(): readonly Entry[] {
    if (this.#ordered) return this.#ordered;
    const entries = [...this.#entries.values()];
    const first = entries.filter(({ goesOn }) => goesOn);
    const others = first.length === 0 ? entries : entries.filter(({ goesOn }) => !goesOn);
    this.#ordered = [...first, ...fairOrder(others, this.#lastServed, this.#served)];
    return this.#ordered;
  }

  join({ spec, token, goesOn = false, signal, onPlace }: JoinOptions): Ticket {
    const { promise, resolve, reject } = Promise.withResolvers<Worker>();
    const leave = (): void => this.#settle(entry, () => reject(signal.reason));
    signal.addEventListener('abort', leave, { once: true });
    const entry: Entry = {
      ...{ spec, token, goesOn, worker: promise, resolve, reject, onPlace, place: 0 },
      flow: `${token} ${spec.sessionId ?? ''}`,
      unwatch: () => signal.removeEventListener('abort', leave),
    };
    this.#entries.set(entry, entry);
    this.#ordered = undefined;
    return entry;
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
    let place = 0;
    for (const entry of this.#inOrder()) {
      place += 1;
      if (entry.place === place) continue;
      entry.place = place;
      entry.onPlace(place);
    }
  }

  serve(ticket: Ticket, worker: Worker): void {
    this.#settle(ticket, ({ token, flow, resolve }) => {
      this.#served += 1;
      for (const name of [token, flow]) {
        this.#lastServed.delete(name);
        this.#lastServed.set(name, this.#served);
      }
      this.#forgetOld();
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

/** A token, or one of its sessions, while the turns that it will take are played. */
interface Flow {
  /** When it took its last turn, by count; never again has it a turn once all of it is served. */
  last: number;
  left: number;
}

interface SessionFlow extends Flow {
  entries: Entry[];
}

interface TokenFlow extends Flow {
  sessions: Map<string, SessionFlow>;
}

/** Plays the turns that the tokens, and their sessions, will take. */
function fairOrder(
  entries: readonly Entry[],
  lastServed: ReadonlyMap<string, number>,
  served: number,
): readonly Entry[] {
  if (entries.length < 2) return entries;
  const tokens = new Map<string, TokenFlow>();
  for (const entry of entries) {
    const token = flowOf(tokens, entry.token, lastServed, newToken);
    const session = flowOf(token.sessions, entry.flow, lastServed, newSession);
    session.entries.push(entry);
    session.left += 1;
    token.left += 1;
  }
  const ordered: Entry[] = [];
  for (let turn = served + 1; ordered.length < entries.length; turn++) {
    const token = longestWithout(tokens);
    const session = token && longestWithout(token.sessions);
    const entry = session?.entries[session.entries.length - session.left];
    if (!token || !session || !entry) break;
    ordered.push(entry);
    takeTurn(token, turn);
    takeTurn(session, turn);
  }
  return ordered;
}

const newToken = (last: number): TokenFlow => ({ last, left: 0, sessions: new Map() });
const newSession = (last: number): SessionFlow => ({ last, left: 0, entries: [] });

function flowOf<F extends Flow>(
  flows: Map<string, F>,
  name: string,
  lastServed: ReadonlyMap<string, number>,
  make: (last: number) => F,
): F {
  const known = flows.get(name);
  if (known) return known;
  const flow = make(lastServed.get(name) ?? 0);
  flows.set(name, flow);
  return flow;
}

function takeTurn(flow: Flow, turn: number): void {
  flow.left -= 1;
  flow.last = flow.left === 0 ? Number.POSITIVE_INFINITY : turn;
}

/** Who of them was served the longest time ago; among equals the one who came first. */
function longestWithout<F extends Flow>(flows: ReadonlyMap<string, F>): F | undefined {
  let chosen: F | undefined;
  for (const flow of flows.values()) {
    if (flow.last < (chosen?.last ?? Number.POSITIVE_INFINITY)) chosen = flow;
  }
  return chosen;
}
