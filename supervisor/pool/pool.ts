/**
 * The pool: the workers there are, and the prompts that wait for one. After each event `#reconcile`
 * makes what is there equal what should be (assign.ts decides).
 * Always holds: never more than `maxWorkers` processes; at most one process for a session; prompts
 * for one session are served in order; what a worker left is gone before its place is free.
 */
import { BerthError } from '../../shared/errors.ts';
import type { ClaudeProcess } from '../claude/process.ts';
import { type Action, assign, withoutWorker } from './assign.ts';
import type { LaunchFailure } from './backoff.ts';
import { type EndOptions, endWorker } from './end-worker.ts';
import { Launches } from './launches.ts';
import type { Order, WarmTarget } from './process-spec.ts';
import { RefillPause } from './refill-pause.ts';
import { Pace } from './retry-after.ts';
import { OneStart } from './serialized-start.ts';
import { WaitingLine } from './waiting-line.ts';
import type { RecycleReason, Worker, WorkerState } from './worker.ts';

export interface PoolOptions extends EndOptions {
  /** The processes that are kept ready, the more important first. */
  warm: () => readonly WarmTarget[];
  maxWorkers: number;
  /** So many workers memory allows at the moment; at least one. Call `reconsider` when it changes. */
  ceiling?: () => number;
  queueLimit: number;
  /** Milliseconds without a prompt after which an idle worker is recycled. */
  idleTimeout: number;
  /** Resolves when the process can take a prompt. */
  prepare: (process: ClaudeProcess, order: Order) => Promise<void>;
  /** Ends what the worker of that name has left outside its process group; never rejects. */
  clearAway: (name: string, pid: number | undefined) => Promise<void>;
  /** Whether no other process may start beside one of that profile just now. */
  startsAlone?: (profile: string) => boolean;
  /** The error with what else is known about why a profile's workers do not start. */
  explain?: (profile: string, error: BerthError) => BerthError;
  /** Told when a worker of the profile has become ready, or could not be started. */
  onStart?: (profile: string, ready: boolean) => void;
}

/** Milliseconds for each step of ending a process. */
const usualGrace = 2_000;

export interface AcquireOptions {
  order: Order;
  /** The name of the caller's token. */
  token: string;
  /** Leaves the queue; the rejection is the signal's reason. */
  signal: AbortSignal;
  /** It goes on with a turn that had begun: it is served before all others, and never sent away. */
  goesOn?: boolean;
  /** Told its place, from 1, if the prompt has to wait, and whenever that changes. */
  onQueued: (place: number) => void;
}

export class Pool {
  readonly #options: PoolOptions;
  readonly #launches: Launches;
  readonly #line: WaitingLine;
  readonly #pace = new Pace();
  readonly #refill = new RefillPause(() => this.#reconcile());
  readonly #oneStart: OneStart;
  #stopping: BerthError | undefined;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#line = new WaitingLine(options.queueLimit);
    this.#oneStart = new OneStart(
      (profile) => options.startsAlone?.(profile) ?? false,
      () => this.#reconcile(),
    );
    this.#launches = new Launches({
      prepare: options.prepare,
      clearAway: options.clearAway,
      beforeEnd: async (pid) => options.beforeEnd?.(pid),
      log: options.log,
      onChange: () => this.#reconcile(),
      onSessionFailed: (sessionId, error) => this.#rejectSession(sessionId, error),
      onOwnFailed: (key, error) => this.#line.rejectWhere((order) => order.key === key, error),
      explain: (profile, error) => options.explain?.(profile, error) ?? error,
      onStart: (profile, ready) => options.onStart?.(profile, ready),
      onHopeless: (profile, error) => this.#rejectAllOf(profile, error),
      onCrash: () => options.onRecycle?.('crashed'),
    });
  }

  /** Starts the warm workers. */
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

  /** Why workers cannot be started, by profile; of those where none could since. */
  get launchFailures(): ReadonlyMap<string, LaunchFailure> {
    return this.#launches.failures;
  }

  count(state: WorkerState): number {
    return this.workers.filter((worker) => worker.state === state).length;
  }

  /** The process that serves a session, if one does. */
  ownerOf(sessionId: string): Worker | undefined {
    return this.workers.find((worker) => worker.sessionId === sessionId);
  }

  /**
   * A worker for one turn; it must be given back with `release`.
   * @throws BerthError `queue_full`, `draining`, `cli_unavailable`, `session_not_found`, or the
   *   signal's reason
   */
  async acquire({ order, token, goesOn, signal, onQueued }: AcquireOptions): Promise<Worker> {
    signal.throwIfAborted();
    if (this.#stopping) throw this.#stopping;
    const own = order.sessionId !== undefined && this.ownerOf(order.sessionId);
    const hopeless = own ? undefined : this.#launches.hopeless(order.profile);
    if (hopeless) throw hopeless;
    const ticket = this.#line.join({
      order,
      token,
      goesOn: goesOn ?? false,
      signal,
      onPlace: onQueued,
    });
    this.#assign();
    const { maxWorkers } = this.#options;
    const retryAfter = this.#pace.secondsFor(this.#line.length, maxWorkers);
    this.#line.enforceLimit(this.count('starting'), retryAfter);
    this.#line.tellPlaces();
    return ticket.worker;
  }

  /** Gives a worker back after its turn. `usable` is false if its turn has no end. */
  release(worker: Worker, usable: boolean): void {
    // One that has ended by itself is on its way out already.
    if (worker.state !== 'busy' || !worker.process.alive) return;
    this.#pace.ended(worker);
    this.#refill.end(worker);
    worker.become('idle');
    // Without a session nobody could ever go on with it, and it has served somebody.
    if (!usable || worker.sessionId === undefined) void this.recycle(worker, 'unresponsive');
    else if (worker.recycleAfterTurn) void this.recycle(worker, worker.recycleAfterTurn);
    else if (worker.order.once) void this.recycle(worker, 'renewed');
    this.#reconcile();
  }

  /**
   * Keeps a session for the prompt that goes on with its turn, until that has a worker: without it
   * another prompt of the session could come between. Call what it returns to end that.
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
   * Ends a worker and forgets it once it is gone; its session can be resumed. A busy one is only
   * marked, unless `now`.
   * @param grace milliseconds after which what does not end by itself is killed
   */
  async recycle(worker: Worker, reason: RecycleReason, now = false, grace = usualGrace) {
    if (worker.state === 'recycling') return worker.gone;
    if (worker.state === 'busy' && !now) {
      worker.recycleAfterTurn = reason;
      return;
    }
    await endWorker(worker, reason, grace, this.#options);
  }

  /** A busy worker that was to be recycled for that reason may stay. */
  spare(worker: Worker, reason: RecycleReason): void {
    if (worker.recycleAfterTurn === reason) worker.recycleAfterTurn = undefined;
  }

  /** What decides how many workers there may be has changed. */
  reconsider(): void {
    // Before the start nothing is kept ready.
    if (this.#idleTimer) this.#reconcile();
  }

  /** What is kept ready has changed. */
  renew(): void {
    this.#launches.forgive();
    this.#reconcile();
  }

  /** What the worker of a session does, or `busy` if a prompt waits for it; undefined without one. */
  stateOf(sessionId: string): WorkerState | undefined {
    const waits = this.#line.waiting.some(({ order }) => order.sessionId === sessionId);
    return waits ? 'busy' : this.ownerOf(sessionId)?.state;
  }

  /** Answers those who wait for a session with `reason` and ends its worker, unless that is busy. */
  async endSession(sessionId: string, reason: BerthError): Promise<void> {
    this.#rejectSession(sessionId, reason);
    const worker = this.ownerOf(sessionId);
    if (!worker || worker.state === 'busy') return;
    await this.recycle(worker, 'removed');
    await worker.gone;
  }

  /**
   * Takes nothing new: who waits for others is answered with `reason`; running turns go on, and so do
   * prompts for which a process is starting.
   */
  drain(reason: BerthError): void {
    this.#stopping = reason;
    this.#reconcile();
  }

  /** Ends all workers, busy ones too; returns when they are gone. */
  async stop(): Promise<void> {
    this.#stopping ??= new BerthError('draining', 'cannot take a prompt: the server is stopping');
    clearInterval(this.#idleTimer);
    this.#refill.stop();
    this.#oneStart.stop();
    this.#launches.stop();
    this.#line.rejectAll(this.#stopping);
    await Promise.all(this.workers.map((worker) => this.recycle(worker, 'stopping', true)));
    await Promise.all(this.workers.map(({ gone }) => gone));
  }

  #reconcile(): void {
    this.#assign();
    this.#line.tellPlaces();
  }

  #assign(): void {
    const stopping = this.#stopping;
    const { workers } = this.#launches;
    const actions = assign({
      workers,
      waiting: this.#line.servable,
      warm: stopping ? [] : this.#options.warm(),
      maxWorkers: Math.min(this.#options.maxWorkers, this.#options.ceiling?.() ?? Infinity),
      refill: !this.#refill.paused,
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
        action.worker.become('busy');
        this.#launches.proved(action.worker.order.profile);
        this.#pace.began(action.worker);
        this.#line.serve(action.ticket, action.worker);
        break;
      case 'launch':
        if (!this.#oneStart.mayStart(action.order.profile, this.workers)) break;
        this.#launches.launch(action.order);
        break;
      case 'recycle':
        void this.recycle(action.worker, action.reason);
    }
  }

  #rejectSession(sessionId: string, error: BerthError): void {
    this.#line.rejectWhere((order) => order.sessionId === sessionId, error);
  }

  /** Those who have no worker yet. */
  #rejectAllOf(profile: string, error: BerthError): void {
    this.#line.rejectWhere(
      (order) => order.profile === profile && !(order.sessionId && this.ownerOf(order.sessionId)),
      error,
    );
  }

  #recycleIdle(): void {
    const before = performance.now() - this.#options.idleTimeout;
    for (const worker of this.workers) {
      const idle = worker.state === 'idle' && worker.idleSince < before;
      if (idle && !worker.works) void this.recycle(worker, 'idle');
    }
    // Work in the background may have kept its place for long enough.
    if (this.#line.length > 0) this.#reconcile();
  }
}
