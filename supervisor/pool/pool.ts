/**
 * The pool: the workers, and the queue of the prompts that wait for a worker. After each event `#reconcile`
 * carries out what assign.ts decides.
 * Invariants: never more than `maxWorkers` processes; at most one process for a session; the prompts of one
 * session are served one after the other, in the order of their arrival; the place of a worker is free when
 * all processes that it started have ended.
 */
import { BerthError } from '../../shared/errors.ts';
import type { ClaudeProcess } from '../claude/process.ts';
import { type Action, assign, withoutWorker } from './assign.ts';
import type { LaunchFailure } from './backoff.ts';
import { type EndOptions, endWorker, hastenEnd, type StopReason } from './end-worker.ts';
import { Launches } from './launches.ts';
import type { ProcessSpec, WarmTarget } from './process-spec.ts';
import { RefillPause } from './refill-pause.ts';
import { RetryAfter } from './retry-after.ts';
import { SerializedStart } from './serialized-start.ts';
import { type Lane, WaitingLine } from './waiting-line.ts';
import type { RecycleReason, Worker, WorkerState } from './worker.ts';

export interface PoolOptions extends EndOptions {
  /** The spares that are wanted, the more important first. */
  warm: () => readonly WarmTarget[];
  /** How many processes may be starting when the start of a spare begins: a start uses two CPUs. No limit if absent. */
  mostStarts?: number;
  maxWorkers: number;
  /** How many workers memory allows now, at least one. Call `reconsider` when it changes. */
  ceiling?: () => number;
  queueLimit: number;
  /** Milliseconds without a prompt after which an idle worker is recycled. */
  idleTimeout: number;
  /** Resolves when the process can take a prompt. */
  prepare: (process: ClaudeProcess, spec: ProcessSpec) => Promise<void>;
  /** Ends the processes that the worker has left outside its process group; never rejects. */
  clearAway: (name: string, pid: number | undefined) => Promise<void>;
  /** Whether no other process may start beside a process of that profile now. */
  startsAlone?: (profile: string) => boolean;
  /** Adds to the error what else is known about the failed starts of a profile. */
  explain?: (profile: string, error: BerthError) => BerthError;
  /** Called when a worker of the profile has become ready, or could not be started. */
  onStart?: (profile: string, ready: boolean) => void;
}

/** Milliseconds for each step of the end of a process. */
const usualGrace = 2_000;
/** The same when the volume belongs to another pod. */
const graceOfLeaseLost = 250;

export interface AcquireOptions {
  spec: ProcessSpec;
  /** The name of the caller's token. */
  token: string;
  /** Leaves the queue; the rejection is the signal's reason. */
  signal: AbortSignal;
  /** The prompt continues a turn that had begun: it is served first, and never rejected for space. */
  continues?: boolean;
  /** `interactive` if absent. */
  lane?: Lane | undefined;
  /** Called with the place in the queue, from 1, if the prompt has to wait, and whenever it changes. */
  onQueued: (place: number) => void;
}

export class Pool {
  readonly #options: PoolOptions;
  readonly #launches: Launches;
  readonly #line: WaitingLine;
  readonly #retryAfter = new RetryAfter();
  readonly #refill = new RefillPause(() => this.#reconcile());
  readonly #serializedStart: SerializedStart;
  #stopping: BerthError | undefined;
  #frozen = false;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#line = new WaitingLine(options.queueLimit);
    this.#serializedStart = new SerializedStart(
      (profile) => options.startsAlone?.(profile) ?? false,
      () => this.#reconcile(),
    );
    this.#launches = new Launches({
      prepare: options.prepare,
      clearAway: options.clearAway,
      beforeEnd: async (pid) => options.beforeEnd?.(pid),
      log: options.log,
      onChange: () => this.#reconcile(),
      // While it is frozen the configuration is about to change, and the prompts wait for another start.
      onSessionFailed: (sessionId, error) => {
        const isLost = error.code === 'session_not_found';
        if (!this.#frozen || isLost) this.#rejectSession(sessionId, error);
      },
      onOwnFailed: (key, error) => {
        if (!this.#frozen) this.#line.rejectWhere((spec) => spec.key === key, error);
      },
      explain: (profile, error) => options.explain?.(profile, error) ?? error,
      onStart: (profile, ready) => options.onStart?.(profile, ready),
      onHopeless: (profile, error) => {
        if (!this.#frozen) this.#rejectAllOf(profile, error);
      },
      onCrash: () => options.onRecycle?.('crashed'),
      onWorkLost: (lost) => options.onWorkLost?.(lost),
    });
  }

  /** Starts the spares. */
  start(): void {
    const period = Math.max(100, Math.min(10_000, this.#options.idleTimeout / 4));
    this.#idleTimer = setInterval(() => this.#recycleIdle(), period);
    this.#reconcile();
  }

  get workers(): readonly Worker[] {
    return [...this.#launches.workers];
  }

  get queued(): number {
    return this.#line.length;
  }

  /** Why workers of a profile cannot be started; without the profiles that have had a successful start since. */
  get launchFailures(): ReadonlyMap<string, LaunchFailure> {
    return this.#launches.failures;
  }

  count(state: WorkerState): number {
    return this.workers.filter((worker) => worker.state === state).length;
  }

  /** The worker of a session; undefined if it has none. */
  ownerOf(sessionId: string): Worker | undefined {
    return this.workers.find((worker) => worker.sessionId === sessionId);
  }

  /**
   * A worker for one turn; it must be given back with `release`.
   * @throws BerthError `queue_full`, `draining`, `cli_unavailable`, `session_not_found`, or the
   *   signal's reason
   */
  async acquire(options: AcquireOptions): Promise<Worker> {
    const { spec, token, continues, lane, signal, onQueued } = options;
    signal.throwIfAborted();
    if (this.#stopping) throw this.#stopping;
    const own = spec.sessionId !== undefined && this.ownerOf(spec.sessionId);
    const isExempt = own || this.#frozen;
    const hopeless = isExempt ? undefined : this.#launches.hopeless(spec.profile);
    if (hopeless) throw hopeless;
    const ticket = this.#line.join({
      spec,
      token,
      continues: continues ?? false,
      lane,
      signal,
      onPlace: onQueued,
    });
    this.#assign();
    const { maxWorkers } = this.#options;
    const retryAfter = this.#retryAfter.secondsFor(this.#line.length, maxWorkers);
    this.#line.enforceLimit(this.count('starting'), retryAfter);
    this.#line.reportPlaces();
    return ticket.worker;
  }

  /** Gives a worker back after its turn. `usable` is false if the turn did not end. */
  release(worker: Worker, usable: boolean): void {
    // A worker that has ended by itself is being removed already.
    if (worker.state !== 'busy' || !worker.process.alive) return;
    this.#retryAfter.ended(worker);
    this.#refill.end(worker);
    worker.become('idle');
    // A worker that has run a turn and has no session cannot serve another prompt.
    if (!usable || worker.sessionId === undefined) void this.recycle(worker, 'unresponsive');
    else if (worker.recycleAfterTurn) void this.recycle(worker, worker.recycleAfterTurn);
    else if (worker.spent && !worker.works) void this.recycle(worker, 'renewed');
    this.#reconcile();
  }

  /**
   * Reserves a session for the prompt that continues its turn, until that prompt has a worker. Otherwise
   * another prompt of the session could come between. The returned function ends the reservation.
   */
  hold(sessionId: string): () => void {
    this.#line.hold(sessionId);
    return () => {
      if (this.#line.letGo(sessionId)) this.#reconcile();
    };
  }

  /** Gives a worker back whose turn has not begun. */
  giveBack(worker: Worker): void {
    if (worker.state !== 'busy' || !worker.process.alive) return;
    worker.become(worker.sessionId === undefined ? 'warm' : 'idle');
    worker.turns -= 1;
    this.#refill.end(worker);
    if (worker.recycleAfterTurn) void this.recycle(worker, worker.recycleAfterTurn);
    this.#reconcile();
  }

  /**
   * Ends a worker; its session can be resumed. A busy worker is ended after its turn, unless `now` is set.
   * @param grace milliseconds after which what does not end by itself is killed
   */
  async recycle(worker: Worker, reason: RecycleReason, now = false, grace = usualGrace) {
    if (worker.state === 'recycling') return worker.gone;
    if (worker.state === 'busy' && !now) {
      worker.mark(reason);
      return;
    }
    await endWorker(worker, reason, grace, this.#options);
  }

  /** Withdraws the reason; a busy worker stays after its turn if it has no other reason. */
  spare(worker: Worker, reason: RecycleReason): void {
    worker.unmark(reason);
  }

  /** Call it when the number of allowed workers, or what a worker may do, has changed. */
  reconsider(): void {
    // Before `start` there are no spares.
    if (this.#idleTimer) this.#reconcile();
  }

  /** From now on no worker is started and none gets a prompt; prompts wait. */
  freeze(): void {
    this.#frozen = true;
  }

  /** The end of `freeze`; starts that failed before are forgotten. */
  thaw(): void {
    this.#frozen = false;
    if (this.#idleTimer) this.renew();
  }

  /** Call it when the wanted spares have changed. */
  renew(): void {
    this.#launches.forgive();
    this.#reconcile();
  }

  /** The state of a session's worker, `busy` if a prompt waits for it; undefined without a worker. */
  stateOf(sessionId: string): WorkerState | undefined {
    const waits = this.#line.waiting.some(({ spec }) => spec.sessionId === sessionId);
    return waits ? 'busy' : this.ownerOf(sessionId)?.state;
  }

  /** Rejects the waiting prompts of a session with `reason`, and ends its worker unless it is busy. */
  async endSession(sessionId: string, reason: BerthError): Promise<void> {
    this.#rejectSession(sessionId, reason);
    const worker = this.ownerOf(sessionId);
    if (!worker || worker.state === 'busy') return;
    await this.recycle(worker, 'removed');
    await worker.gone;
  }

  /**
   * Takes no new prompt, and rejects with `reason` the prompts that would have to wait for the turns of others.
   * Running turns continue, and so do prompts for which a process is starting.
   */
  drain(reason: BerthError): void {
    this.#stopping = reason;
    this.#reconcile();
  }

  /**
   * Ends all workers, also busy ones; resolves when they have ended. May be called again: a lost lease shortens
   * a stop that is under way.
   */
  async stop(reason: StopReason = 'stopping'): Promise<void> {
    this.#stopping ??= new BerthError('draining', 'cannot accept a prompt: the server is stopping');
    clearInterval(this.#idleTimer);
    this.#refill.stop();
    this.#serializedStart.stop();
    this.#launches.stop();
    this.#line.rejectAll(this.#stopping);
    const grace = reason === 'lease_lost' ? graceOfLeaseLost : usualGrace;
    const ends = this.workers.map((worker) =>
      worker.state === 'recycling'
        ? hastenEnd(worker, reason, grace)
        : this.recycle(worker, reason, true, grace),
    );
    await Promise.all(ends);
  }

  #reconcile(): void {
    this.#assign();
    this.#line.reportPlaces();
  }

  #assign(): void {
    const stopping = this.#stopping;
    if (this.#frozen) return;
    const { workers } = this.#launches;
    const actions = assign({
      workers,
      waiting: this.#line.servable,
      warm: stopping ? [] : this.#options.warm(),
      maxWorkers: Math.min(this.#options.maxWorkers, this.#options.ceiling?.() ?? Infinity),
      refill: !this.#refill.paused,
      mostStarts: this.#options.mostStarts,
      mayLaunch: (profile) => !stopping && this.#launches.mayLaunch(profile),
    });
    for (const action of actions) if (!stopping || action.do === 'hand') this.#carryOut(action);
    if (!stopping) return;
    for (const ticket of withoutWorker(workers, this.#line.waiting)) {
      this.#line.reject(ticket, stopping);
    }
  }

  #carryOut(action: Action): void {
    switch (action.do) {
      case 'hand':
        if (action.worker.state === 'warm') this.#refill.begin(action.worker);
        this.#launches.proved(action.worker.spec.profile);
        action.worker.become('busy');
        action.worker.serve(action.ticket.spec);
        this.#launches.proved(action.worker.spec.profile);
        if (action.worker.isUnbound) this.#options.onStart?.(action.worker.spec.profile, true);
        this.#retryAfter.began(action.worker);
        this.#line.serve(action.ticket, action.worker);
        break;
      case 'launch':
        if (!this.#serializedStart.mayStart(action.spec.profile, this.workers)) break;
        this.#launches.launch(action.spec);
        break;
      case 'recycle':
        void this.recycle(action.worker, action.reason);
    }
  }

  #rejectSession(sessionId: string, error: BerthError): void {
    this.#line.rejectWhere((spec) => spec.sessionId === sessionId, error);
  }

  /** Rejects the prompts of a profile whose session has no worker. */
  #rejectAllOf(profile: string, error: BerthError): void {
    this.#line.rejectWhere(
      (spec) => spec.profile === profile && !(spec.sessionId && this.ownerOf(spec.sessionId)),
      error,
    );
  }

  #recycleIdle(): void {
    const before = performance.now() - this.#options.idleTimeout;
    for (const worker of this.workers) {
      const idle = worker.state === 'idle' && worker.idleSince < before;
      if (idle && !worker.works) void this.recycle(worker, 'idle');
    }
    // A worker may have used up the time of its background work, or have been idle for long enough to give its
    // place to a spare.
    this.#reconcile();
  }
}
