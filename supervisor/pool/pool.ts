/**
 * The pool: which worker serves which prompt, and how many workers there are.
 * Always holds: never more than `maxWorkers` processes; at most one process for a session; prompts
 * for one session are served in order; a prompt without a session gets a process that has served
 * nobody. After each event `#reconcile` makes what is there equal what should be.
 */
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { ClaudeProcess, ProcessEnd } from '../claude/process.ts';
import { LaunchBackoff } from './backoff.ts';
import { type Ticket, WaitingLine } from './waiting-line.ts';
import { type RecycleReason, Worker, type WorkerState } from './worker.ts';

export interface PoolOptions {
  warmWorkers: number;
  maxWorkers: number;
  queueLimit: number;
  /** Milliseconds without a prompt after which an idle worker is recycled. */
  idleTimeout: number;
  /** Starts a process for a session, or for a new one. */
  launch: (name: string, sessionId: string | undefined) => ClaudeProcess;
  /** Resolves when the process can take a prompt. */
  prepare: (process: ClaudeProcess, sessionId: string | undefined) => Promise<void>;
  /** Ends what the worker of that name has left outside its process group; never rejects. */
  clearAway: (name: string) => Promise<void>;
  log: Log;
  onRecycle?: (reason: RecycleReason) => void;
}

export interface AcquireOptions {
  /** Absent for a new session. */
  sessionId: string | undefined;
  /** Leaves the queue; the rejection is the signal's reason. */
  signal: AbortSignal;
  /** Called if the prompt has to wait, with its place from 1. */
  onQueued: (place: number) => void;
}

export class Pool {
  readonly #options: PoolOptions;
  readonly #workers = new Set<Worker>();
  readonly #line: WaitingLine;
  readonly #backoff = new LaunchBackoff(() => this.#reconcile());
  #serial = 0;
  #stopping: BerthError | undefined;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#line = new WaitingLine(options.queueLimit);
  }

  /** Starts the warm workers. */
  start(): void {
    const period = Math.max(100, Math.min(10_000, this.#options.idleTimeout / 4));
    this.#idleTimer = setInterval(() => this.#recycleIdle(), period);
    this.#reconcile();
  }

  get workers(): readonly Worker[] {
    return [...this.#workers];
  }

  get queued(): number {
    return this.#line.length;
  }

  /** The last reason why a worker could not be started; undefined when one could since. */
  get launchFailure(): BerthError | undefined {
    return this.#backoff.failure;
  }

  count(state: WorkerState): number {
    return this.workers.filter((worker) => worker.state === state).length;
  }

  /**
   * A worker for one turn; it must be given back with `release`.
   * @throws BerthError `queue_full`, `draining`, `cli_unavailable`, `session_not_found`, or the
   *   signal's reason
   */
  async acquire(options: AcquireOptions): Promise<Worker> {
    options.signal.throwIfAborted();
    if (this.#stopping) throw this.#stopping;
    if (this.#backoff.failure && this.#isHopeless(options.sessionId)) throw this.#backoff.failure;
    const ticket = this.#line.join(options.sessionId, options.signal);
    this.#reconcile();
    this.#line.enforceLimit(ticket, this.count('starting'));
    const place = this.#line.placeOf(ticket);
    if (place > 0) options.onQueued(place);
    return ticket.worker;
  }

  /** Gives a worker back after its turn. `usable` is false if its turn has no end. */
  release(worker: Worker, usable: boolean): void {
    // One that has ended by itself is on its way out already.
    if (worker.state !== 'busy' || !worker.process.alive) return;
    worker.state = 'idle';
    worker.idleSince = performance.now();
    // Without a session nobody could ever go on with it, and it has served somebody.
    if (!usable || worker.sessionId === undefined) void this.recycle(worker, 'unresponsive');
    else if (worker.recycleAfterTurn) void this.recycle(worker, worker.recycleAfterTurn);
    this.#reconcile();
  }

  /**
   * Ends a worker and forgets it once it is gone; its session can be resumed. A busy one is only
   * marked, unless `now`.
   */
  async recycle(worker: Worker, reason: RecycleReason, now = false): Promise<void> {
    if (worker.state === 'recycling') return;
    if (worker.state === 'busy' && !now) {
      worker.recycleAfterTurn = reason;
      return;
    }
    worker.state = 'recycling';
    this.#options.log.info('worker_recycled', `recycling ${worker.name}: ${reason}`, {
      worker: worker.name,
      reason,
      session_id: worker.sessionId,
      age_ms: Math.round(performance.now() - worker.startedAt),
    });
    this.#options.onRecycle?.(reason);
    await worker.process.stop();
    await worker.gone;
  }

  /** What the worker of a session does, or `busy` if a prompt waits for it; undefined without one. */
  stateOf(sessionId: string): WorkerState | undefined {
    const waits = this.#line.waiting.some((ticket) => ticket.sessionId === sessionId);
    return waits ? 'busy' : this.#ownerOf(sessionId)?.state;
  }

  /** Answers those who wait for a session with `reason` and ends its worker, unless that is busy. */
  async endSession(sessionId: string, reason: BerthError): Promise<void> {
    this.#line.rejectSession(sessionId, reason);
    const worker = this.#ownerOf(sessionId);
    if (!worker || worker.state === 'busy') return;
    await this.recycle(worker, 'removed');
    await worker.gone;
  }

  /** Takes nothing new: who waits is answered with `reason`; running turns go on. */
  drain(reason: BerthError): void {
    this.#stopping = reason;
    this.#line.rejectAll(reason);
  }

  /** Ends all workers, busy ones too; returns when they are gone. */
  async stop(): Promise<void> {
    this.#stopping ??= new BerthError('draining', 'cannot take a prompt: the server is stopping');
    clearInterval(this.#idleTimer);
    this.#backoff.stop();
    this.#line.rejectAll(this.#stopping);
    await Promise.all(this.workers.map((worker) => this.recycle(worker, 'stopping', true)));
    await Promise.all(this.workers.map(({ gone }) => gone));
  }

  #reconcile(): void {
    if (this.#stopping) return;
    this.#serve();
    this.#keepWarm();
  }

  /** Hands out workers to who waits, first come first served; starts or frees some if needed. */
  #serve(): void {
    let coming = this.#fresh('starting').length;
    let leaving = this.count('recycling');
    for (const ticket of this.#line.waiting) {
      const own = this.#ownerOf(ticket.sessionId);
      if (own) {
        if (own.state === 'idle') this.#hand(own, ticket);
        continue;
      }
      const warm = ticket.sessionId === undefined && this.#oldest('warm');
      if (warm) this.#hand(warm, ticket);
      else if (ticket.sessionId === undefined && coming > 0) coming--;
      // Nobody gives way to one that may not be started.
      else if (this.#backoff.waiting) continue;
      else if (this.#hasPlace()) this.#launch(ticket.sessionId);
      else if (leaving > 0) leaving--;
      else {
        const victim = this.#oldest('idle') ?? this.#oldest('warm');
        if (victim) void this.recycle(victim, 'place');
      }
    }
  }

  #keepWarm(): void {
    while (!this.#backoff.waiting) {
      const fresh = this.#fresh('starting').length + this.#fresh('warm').length;
      if (fresh >= this.#options.warmWorkers) return;
      if (this.#hasPlace()) {
        this.#launch(undefined);
        continue;
      }
      const sessions = this.workers.filter(({ state }) => state === 'idle' || state === 'busy');
      const victim = this.#oldest('idle');
      // A lone session keeps its place: with one worker a follow-up matters more than a new context.
      if (victim && sessions.length > 1 && this.count('recycling') === 0) {
        void this.recycle(victim, 'place');
      }
      return;
    }
  }

  /** Those in that state that serve no session yet. */
  #fresh(state: 'starting' | 'warm'): Worker[] {
    return this.workers.filter(
      (worker) => worker.state === state && worker.sessionId === undefined,
    );
  }

  #ownerOf(sessionId: string | undefined): Worker | undefined {
    if (sessionId === undefined) return undefined;
    return this.workers.find((worker) => worker.sessionId === sessionId);
  }

  #oldest(state: 'warm' | 'idle'): Worker | undefined {
    return this.workers
      .filter((worker) => worker.state === state)
      .sort((a, b) => a.idleSince - b.idleSince)[0];
  }

  /**
   * Whether a prompt would wait for a start that is bound to fail: starting has failed too often, and
   * either the pause after that is not over or somebody else is trying already.
   */
  #isHopeless(sessionId: string | undefined): boolean {
    if (!this.#backoff.broken || this.#ownerOf(sessionId)) return false;
    return this.#backoff.waiting || this.count('starting') > 0;
  }

  #hasPlace(): boolean {
    return this.#workers.size < this.#options.maxWorkers;
  }

  #hand(worker: Worker, ticket: Ticket): void {
    worker.state = 'busy';
    this.#backoff.proved();
    this.#line.serve(ticket, worker);
  }

  #launch(sessionId: string | undefined): void {
    const { log, launch, prepare } = this.#options;
    const name = `worker-${++this.#serial}`;
    let process: ClaudeProcess;
    try {
      process = launch(name, sessionId);
    } catch (thrown) {
      // The system may refuse at once: no memory for another process.
      this.#notStarted(name, sessionId, thrown);
      return;
    }
    const worker = new Worker(name, process, sessionId);
    this.#workers.add(worker);
    log.debug('worker_starting', `starting ${name}`, { worker: name, session_id: sessionId });
    const prepared = prepare(process, sessionId).then(
      () => this.#ready(worker),
      (error: unknown) => this.#failed(worker, error),
    );
    // A start that failed is known as one before its end makes place for another.
    worker.gone = Promise.all([process.ended, prepared]).then(([end]) => this.#gone(worker, end));
  }

  #ready(worker: Worker): void {
    if (worker.state !== 'starting') return;
    this.#backoff.started();
    worker.state = worker.sessionId === undefined ? 'warm' : 'idle';
    worker.idleSince = performance.now();
    this.#options.log.info('worker_ready', `${worker.name} is ready`, {
      worker: worker.name,
      pid: worker.process.pid,
      session_id: worker.sessionId,
      duration_ms: Math.round(performance.now() - worker.startedAt),
    });
    this.#reconcile();
  }

  #failed(worker: Worker, thrown: unknown): void {
    if (worker.state === 'recycling') return;
    worker.state = 'recycling';
    void worker.process.stop();
    this.#notStarted(worker.name, worker.sessionId, thrown);
  }

  #notStarted(name: string, sessionId: string | undefined, thrown: unknown): void {
    const error =
      thrown instanceof BerthError
        ? thrown
        : new BerthError('cli_unavailable', `cannot start a worker: ${String(thrown)}`);
    if (error.code !== 'session_not_found') {
      this.#options.log.error('worker_failed', `${name} could not be started`, {
        worker: name,
        session_id: sessionId,
        error,
      });
    }
    // One session that cannot be resumed says nothing about the others.
    if (sessionId !== undefined) this.#line.rejectSession(sessionId, error);
    else this.#slowDown(error);
  }

  #slowDown(error: BerthError): void {
    this.#backoff.failed(error);
    if (!this.#backoff.broken) return;
    for (const ticket of this.#line.waiting) {
      if (!this.#ownerOf(ticket.sessionId)) this.#line.reject(ticket, error);
    }
  }

  async #gone(worker: Worker, { exitCode, signal }: ProcessEnd): Promise<void> {
    const expected = worker.state === 'recycling';
    if (!expected) this.#options.onRecycle?.('crashed');
    if (worker.state === 'warm') {
      this.#slowDown(
        new BerthError(
          'cli_unavailable',
          `cannot keep the CLI running: it ended by itself (exit code ${exitCode}, signal ${signal}) before its first prompt; see its last lines in the log`,
        ),
      );
    }
    this.#options.log[expected ? 'debug' : 'warn']('worker_ended', `${worker.name} ended`, {
      worker: worker.name,
      session_id: worker.sessionId,
      exit_code: exitCode,
      signal,
    });
    // Its place is free when all that it started is gone too.
    worker.state = 'recycling';
    await worker.process.stop();
    await this.#options.clearAway(worker.name);
    this.#workers.delete(worker);
    this.#reconcile();
  }

  #recycleIdle(): void {
    const before = performance.now() - this.#options.idleTimeout;
    for (const worker of this.workers) {
      if (worker.state === 'idle' && worker.idleSince < before) void this.recycle(worker, 'idle');
    }
  }
}
