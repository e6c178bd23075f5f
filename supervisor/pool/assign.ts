/**
 * Decides which worker serves which prompt, which processes are started, and which are ended. A pure function
 * of the workers, the queue and the spares that are wanted; the pool calls it after each event and carries the
 * actions out.
 * Invariants: never more processes than allowed; at most one process for a session; a process that has served
 * a session serves no other one.
 */
import type { ProcessSpec, WarmTarget } from './process-spec.ts';
import type { Ticket } from './waiting-line.ts';
import type { RecycleReason, Worker } from './worker.ts';

export interface Situation {
  workers: Iterable<Worker>;
  /** The tickets of the queue, the next one first. */
  waiting: readonly Ticket[];
  /** The spares that are wanted, the more important first. */
  warm: readonly WarmTarget[];
  /** False while the start of a spare would slow down a turn. */
  refill: boolean;
  /** How many processes may be starting when the start of a spare begins; no limit if absent. */
  mostStarts?: number | undefined;
  maxWorkers: number;
  /** False for a while after a start of that profile has failed. */
  mayLaunch: (profile: string) => boolean;
}

export type Action =
  | { do: 'hand'; worker: Worker; ticket: Ticket }
  | { do: 'launch'; spec: ProcessSpec }
  | { do: 'recycle'; worker: Worker; reason: RecycleReason };

/** Milliseconds. */
const longIdle = 60_000;
/** Milliseconds after which a start waits for something else than a CPU, such as an MCP server. */
const longStart = 5_000;

export function assign(situation: Situation): Action[] {
  const round = new Round(situation);
  for (const ticket of situation.waiting) round.serve(ticket);
  round.endUnwanted();
  if (situation.refill && !round.beginsFresh) {
    for (const target of situation.warm) round.keepWarm(target);
  }
  return round.actions;
}

/** The tickets for which no process is starting: they would have to wait for other turns to end. */
export function withoutWorker(
  workers: Iterable<Worker>,
  waiting: readonly Ticket[],
): readonly Ticket[] {
  const coming = [...workers].filter(({ state }) => state === 'starting' || state === 'warm');
  return waiting.filter(({ spec }) => {
    const index = coming.findIndex(({ spec: { key }, sessionId }) =>
      spec.sessionId === undefined
        ? sessionId === undefined && keysFor(spec).includes(key)
        : sessionId === spec.sessionId,
    );
    if (index >= 0) coming.splice(index, 1);
    return index < 0;
  });
}

/** One round of decisions; each decision takes the earlier ones into account. */
class Round {
  readonly actions: Action[] = [];
  readonly #situation: Situation;
  readonly #workers: readonly Worker[];
  /** Workers with an action in this round. */
  readonly #taken = new Set<Worker>();
  /** Sessions for which a process is started in this round. */
  readonly #begun = new Set<string>();
  /** Starting processes without a session, by key, that are not yet counted for a ticket. */
  readonly #coming = new Map<string, number>();
  readonly #fresh = new Map<string, number>();
  #places: number;
  #leaving: number;
  #starting: number;

  constructor(situation: Situation) {
    this.#situation = situation;
    this.#workers = [...situation.workers];
    this.#places = situation.maxWorkers - this.#workers.length;
    this.#leaving = this.#in('recycling').length;
    const since = performance.now() - longStart;
    this.#starting = this.#in('starting').filter(({ startedAt }) => startedAt > since).length;
    for (const worker of this.#workers) {
      const { key } = worker.spec;
      const coming = isComing(worker);
      if (coming) add(this.#coming, key, 1);
      if (coming || worker.state === 'warm') add(this.#fresh, key, 1);
    }
  }

  /** Whether a new process gets its first turn in this round: then no spare is started beside it. */
  get beginsFresh(): boolean {
    return this.actions.some((action) => action.do === 'hand' && action.worker.state === 'warm');
  }

  serve(ticket: Ticket): void {
    const { spec } = ticket;
    if (spec.sessionId === undefined) this.#serveByFresh(ticket);
    else {
      const own = this.#ownerOf(spec.sessionId);
      if (own) this.#serveBy(own, ticket);
      else if (!this.#begun.has(spec.sessionId)) this.#makePlace(spec);
    }
  }

  #serveByFresh(ticket: Ticket): void {
    const keys = keysFor(ticket.spec);
    for (const key of keys) {
      const warm = this.#oldest('warm', (worker) => worker.spec.key === key);
      if (!warm) continue;
      add(this.#fresh, key, -1);
      this.#decide({ do: 'hand', worker: warm, ticket });
      return;
    }
    const coming = keys.find((key) => (this.#coming.get(key) ?? 0) > 0);
    if (coming === undefined) this.#makePlace(ticket.spec);
    else add(this.#coming, coming, -1);
  }

  /**
   * The session's own process serves the ticket, unless its flags are out of date. Then the process may still
   * report what ran in the background; what still runs there ends with the process.
   */
  #serveBy(own: Worker, ticket: Ticket): void {
    if (own.state !== 'idle' || this.#taken.has(own)) return;
    const right = own.spec.key === ticket.spec.key && !own.spent;
    if (right) this.#decide({ do: 'hand', worker: own, ticket });
    else if (!own.reports) this.#decide({ do: 'recycle', worker: own, reason: 'renewed' });
  }

  /** Starts a process for a ticket, or ends another process to free a slot. */
  #makePlace(spec: ProcessSpec): void {
    // No process is ended for a start that is not allowed.
    if (!this.#situation.mayLaunch(spec.profile)) return;
    else if (this.#places > 0) this.#launch(spec);
    else if (this.#leaving > 0) this.#leaving -= 1;
    else {
      const victim =
        this.#longIdle ??
        this.#oldest('warm', (worker) => this.#isOptional(worker)) ??
        this.#oldest('idle') ??
        this.#oldest('warm');
      if (victim) this.#decide({ do: 'recycle', worker: victim, reason: 'place' });
    }
  }

  /** Ends spares that no ticket and no target wants: their prompt has left, or their flags are out of date. */
  endUnwanted(): void {
    const warm = this.#in('warm');
    if (warm.length === 0) return;
    const wanted = new Set(
      [...this.#situation.warm, ...this.#situation.waiting].flatMap(({ spec }) => keysFor(spec)),
    );
    for (const worker of warm) {
      if (this.#taken.has(worker) || wanted.has(worker.spec.key)) continue;
      add(this.#fresh, worker.spec.key, -1);
      this.#decide({ do: 'recycle', worker, reason: 'renewed' });
    }
  }

  keepWarm({ spec, count, optional }: WarmTarget): void {
    while (this.#situation.mayLaunch(spec.profile)) {
      if ((this.#fresh.get(spec.key) ?? 0) >= count) return;
      if (this.#starting >= (this.#situation.mostStarts ?? Infinity)) return;
      if (this.#places > 0) {
        this.#launch(spec);
        continue;
      }
      const victim = optional ? this.#longIdle : this.#victimForSpare();
      if (victim && this.#leaving === 0) {
        this.#decide({ do: 'recycle', worker: victim, reason: 'place' });
      }
      return;
    }
  }

  #launch(spec: ProcessSpec): void {
    this.#places -= 1;
    this.#starting += 1;
    if (spec.sessionId === undefined) add(this.#fresh, spec.key, 1);
    else this.#begun.add(spec.sessionId);
    this.actions.push({ do: 'launch', spec });
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

  /** A session whose next prompt is not expected soon: its place is worth more to an optional spare. */
  get #longIdle(): Worker | undefined {
    const before = performance.now() - longIdle;
    return this.#oldest('idle', ({ idleSince }) => idleSince < before);
  }

  #victimForSpare(): Worker | undefined {
    const sessions = [...this.#in('idle'), ...this.#in('busy')];
    // The only session keeps its process: a follow-up is more likely than a new session.
    return (
      this.#oldest('warm', (worker) => this.#isOptional(worker)) ??
      (sessions.length > 1 ? this.#oldest('idle') : undefined)
    );
  }

  #isOptional({ spec }: Worker): boolean {
    const targets = this.#situation.warm.filter((target) => target.spec.key === spec.key);
    return targets.length > 0 && targets.every(({ optional }) => optional);
  }

  /** The worker that has been in that state for the longest time. */
  #oldest(
    state: 'warm' | 'idle',
    fits: (worker: Worker) => boolean = () => true,
  ): Worker | undefined {
    return this.#in(state)
      .filter((worker) => !this.#taken.has(worker) && !worker.works && fits(worker))
      .sort((a, b) => a.idleSince - b.idleSince)[0];
  }
}

/** The keys of the processes that fit, the better first. */
function keysFor({ key, spare }: ProcessSpec): string[] {
  return spare ? [key, spare.key] : [key];
}

/** Whether the worker is starting without a session. */
function isComing({ state, sessionId }: Worker): boolean {
  return state === 'starting' && sessionId === undefined;
}

function add(counts: Map<string, number>, key: string, by: number): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}
