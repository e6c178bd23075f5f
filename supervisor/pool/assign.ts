/**
 * Who serves whom: from the workers there are, the prompts that wait and the processes that should be
 * kept ready, to what is to be done now. Nothing here changes anything; the pool does it and asks
 * again after each event.
 * Always holds: no more processes than allowed; at most one for a session; a process that has served
 * somebody is not given to another session.
 */
import type { Order, WarmTarget } from './process-spec.ts';
import type { Ticket } from './waiting-line.ts';
import type { RecycleReason, Worker } from './worker.ts';

export interface Situation {
  workers: Iterable<Worker>;
  /** In the order in which they are to be served. */
  waiting: readonly Ticket[];
  /** The more important first. */
  warm: readonly WarmTarget[];
  /** False while starting another process to be kept ready would disturb a turn. */
  refill: boolean;
  maxWorkers: number;
  /** False while starting a process of that profile has just failed. */
  mayLaunch: (profile: string) => boolean;
}

export type Action =
  | { do: 'hand'; worker: Worker; ticket: Ticket }
  | { do: 'launch'; order: Order }
  | { do: 'recycle'; worker: Worker; reason: RecycleReason };

export function assign(situation: Situation): Action[] {
  const round = new Round(situation);
  for (const ticket of situation.waiting) round.serve(ticket);
  round.endUnwanted();
  if (situation.refill && !round.beginsFresh) {
    for (const target of situation.warm) round.keepWarm(target);
  }
  return round.actions;
}

/** Those who wait and for whom no process is on its way: they would wait for others to be served. */
export function withoutWorker(
  workers: Iterable<Worker>,
  waiting: readonly Ticket[],
): readonly Ticket[] {
  const coming = [...workers].filter(({ state }) => state === 'starting' || state === 'warm');
  return waiting.filter(({ order }) => {
    const index = coming.findIndex(({ order: { key }, sessionId }) =>
      order.sessionId === undefined
        ? sessionId === undefined && key === order.key
        : sessionId === order.sessionId,
    );
    if (index >= 0) coming.splice(index, 1);
    return index < 0;
  });
}

/** One round of decisions, each of which the later ones know. */
class Round {
  readonly actions: Action[] = [];
  readonly #situation: Situation;
  readonly #workers: readonly Worker[];
  /** Those that something was decided for. */
  readonly #taken = new Set<Worker>();
  /** Sessions that a process is started for in this round. */
  readonly #begun = new Set<string>();
  /** Fresh processes on their way, by key; those not yet meant for somebody who waits. */
  readonly #coming = new Map<string, number>();
  readonly #fresh = new Map<string, number>();
  #places: number;
  #leaving: number;

  constructor(situation: Situation) {
    this.#situation = situation;
    this.#workers = [...situation.workers];
    this.#places = situation.maxWorkers - this.#workers.length;
    this.#leaving = this.#in('recycling').length;
    for (const worker of this.#workers) {
      const { key } = worker.order;
      const coming = isComing(worker);
      if (coming) add(this.#coming, key, 1);
      if (coming || worker.state === 'warm') add(this.#fresh, key, 1);
    }
  }

  /** Whether a fresh process gets its first turn: a moment in which no other is to be started. */
  get beginsFresh(): boolean {
    return this.actions.some((action) => action.do === 'hand' && action.worker.state === 'warm');
  }

  serve(ticket: Ticket): void {
    const { order } = ticket;
    if (order.sessionId === undefined) this.#serveByFresh(ticket);
    else {
      const own = this.#ownerOf(order.sessionId);
      if (own) this.#serveBy(own, ticket);
      else if (!this.#begun.has(order.sessionId)) this.#makePlace(order);
    }
  }

  #serveByFresh(ticket: Ticket): void {
    const { key } = ticket.order;
    const warm = this.#oldest('warm', (worker) => worker.order.key === key);
    if (warm) {
      add(this.#fresh, key, -1);
      this.#decide({ do: 'hand', worker: warm, ticket });
    } else if ((this.#coming.get(key) ?? 0) > 0) add(this.#coming, key, -1);
    else this.#makePlace(ticket.order);
  }

  /** The session's own process serves it, if it was started as is wanted now. */
  #serveBy(own: Worker, ticket: Ticket): void {
    if (own.state !== 'idle' || this.#taken.has(own)) return;
    const right = own.order.key === ticket.order.key;
    this.#decide(
      right
        ? { do: 'hand', worker: own, ticket }
        : { do: 'recycle', worker: own, reason: 'renewed' },
    );
  }

  /** For who has nobody to serve him: a process is started, or another ended for it. */
  #makePlace(order: Order): void {
    // Nobody gives way to one that may not be started.
    if (!this.#situation.mayLaunch(order.profile)) return;
    else if (this.#places > 0) this.#launch(order);
    else if (this.#leaving > 0) this.#leaving -= 1;
    else {
      const victim = this.#oldest('idle') ?? this.#oldest('warm');
      if (victim) this.#decide({ do: 'recycle', worker: victim, reason: 'place' });
    }
  }

  /** Fresh processes that were started for prompts which went away, or by flags of yesterday. */
  endUnwanted(): void {
    const warm = this.#in('warm');
    if (warm.length === 0) return;
    const wanted = new Set(
      [...this.#situation.warm, ...this.#situation.waiting].map(({ order }) => order.key),
    );
    for (const worker of warm) {
      if (this.#taken.has(worker) || wanted.has(worker.order.key)) continue;
      add(this.#fresh, worker.order.key, -1);
      this.#decide({ do: 'recycle', worker, reason: 'renewed' });
    }
  }

  keepWarm({ order, count }: WarmTarget): void {
    while (this.#situation.mayLaunch(order.profile)) {
      if ((this.#fresh.get(order.key) ?? 0) >= count) return;
      if (this.#places > 0) {
        this.#launch(order);
        continue;
      }
      const victim = this.#oldest('idle');
      const sessions = [...this.#in('idle'), ...this.#in('busy')];
      // A lone session keeps its place: with one worker a follow-up matters more than a new context.
      if (victim && sessions.length > 1 && this.#leaving === 0) {
        this.#decide({ do: 'recycle', worker: victim, reason: 'place' });
      }
      return;
    }
  }

  #launch(order: Order): void {
    this.#places -= 1;
    if (order.sessionId === undefined) add(this.#fresh, order.key, 1);
    else this.#begun.add(order.sessionId);
    this.actions.push({ do: 'launch', order });
  }

  #decide(action: Exclude<Action, { do: 'launch' }>): void {
    this.#taken.add(action.worker);
    if (action.do === 'recycle') this.#leaving += 1;
    this.actions.push(action);
  }

  #in(state: Worker['state']): Worker[] {
    return this.#workers.filter((worker) => worker.state === state);
  }

  #ownerOf(sessionId: string): Worker | undefined {
    return this.#workers.find((worker) => worker.sessionId === sessionId);
  }

  /** The one that has been in that state for the longest time. */
  #oldest(
    state: 'warm' | 'idle',
    fits: (worker: Worker) => boolean = () => true,
  ): Worker | undefined {
    return this.#in(state)
      .filter((worker) => !this.#taken.has(worker) && !worker.works && fits(worker))
      .sort((a, b) => a.idleSince - b.idleSince)[0];
  }
}

/** Whether it will be fresh. */
function isComing({ state, sessionId }: Worker): boolean {
  return state === 'starting' && sessionId === undefined;
}

function add(counts: Map<string, number>, key: string, by: number): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}
