/**
 * The life of the processes: started, prepared, ended by themselves or by others, and forgotten when
 * nothing of them is left. A profile whose processes fail is slowed down, and given up for a while.
 */
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { ProcessEnd } from '../claude/child.ts';
import type { ClaudeProcess } from '../claude/process.ts';
import { causeOfStartError } from '../claude/start-error.ts';
import { LaunchBackoff, type LaunchFailure } from './backoff.ts';
import type { Order } from './process-spec.ts';
import { Worker } from './worker.ts';

export interface LaunchesOptions {
  prepare: (process: ClaudeProcess, order: Order) => Promise<void>;
  clearAway: (name: string, pid: number | undefined) => Promise<void>;
  /** Waits until that CLI writes nothing that an end would tear; never rejects. */
  beforeEnd: (pid: number | undefined) => Promise<void>;
  log: Log;
  /** Something has come or gone. */
  onChange: () => void;
  /** A session cannot be resumed. */
  onSessionFailed: (sessionId: string, error: BerthError) => void;
  /** A process of that key, as one request alone asks for it, cannot be started. */
  onOwnFailed: (key: string, error: BerthError) => void;
  /** The error with what else is known about why a profile's workers do not start. */
  explain: (profile: string, error: BerthError) => BerthError;
  /** A worker of the profile has become ready, or could not be started. */
  onStart: (profile: string, ready: boolean) => void;
  /** Starting has failed so often that waiting for it makes no sense. */
  onHopeless: (profile: string, error: BerthError) => void;
  /** A worker has ended by itself. */
  onCrash: () => void;
}

export class Launches {
  readonly workers = new Set<Worker>();
  readonly #options: LaunchesOptions;
  readonly #backoffs = new Map<string, LaunchBackoff>();
  /** Sessions of which a process was killed before it was ready; it is started once more. */
  readonly #killed = new Set<string>();
  #serial = 0;
  #stopped = false;

  constructor(options: LaunchesOptions) {
    this.#options = options;
  }

  get failures(): ReadonlyMap<string, LaunchFailure> {
    const failures = new Map<string, LaunchFailure>();
    for (const [profile, { failure }] of this.#backoffs) {
      if (failure) failures.set(profile, failure);
    }
    return failures;
  }

  mayLaunch(profile: string): boolean {
    return !this.#backoffs.get(profile)?.waiting;
  }

  /**
   * The error for a prompt that would wait for a start that is bound to fail: starting has failed too
   * often, and either the pause after that is not over or somebody else is trying already.
   */
  hopeless(profile: string): BerthError | undefined {
    const backoff = this.#backoffs.get(profile);
    if (!backoff?.broken) return undefined;
    const trying = [...this.workers].some(
      ({ state, order }) => state === 'starting' && order.profile === profile,
    );
    return backoff.waiting || trying ? backoff.failure?.error : undefined;
  }

  /** A worker has lived until a prompt came. */
  proved(profile: string): void {
    this.#backoffs.get(profile)?.proved();
  }

  /** What may have been the cause of failures has changed. */
  forgive(): void {
    for (const backoff of this.#backoffs.values()) backoff.stop();
    this.#backoffs.clear();
  }

  stop(): void {
    this.#stopped = true;
    for (const backoff of this.#backoffs.values()) backoff.stop();
  }

  launch(order: Order): void {
    const name = `worker-${++this.#serial}`;
    let process: ClaudeProcess;
    try {
      process = order.launch(name);
    } catch (thrown) {
      // The system may refuse at once: no memory for another process.
      this.#notStarted(name, order, thrown, '');
      return;
    }
    const worker = new Worker(name, process, order);
    this.workers.add(worker);
    this.#options.log.debug('worker_starting', `starting ${name}`, {
      worker: name,
      profile: order.profile,
      session_id: order.sessionId,
    });
    const prepared = this.#options.prepare(process, order).then(
      () => this.#ready(worker),
      (error: unknown) => this.#failed(worker, error),
    );
    // A start that failed is known as one before its end makes place for another.
    worker.gone = Promise.all([process.ended, prepared]).then(([end]) => this.#gone(worker, end));
  }

  #ready(worker: Worker): void {
    if (worker.state !== 'starting') return;
    this.#backoffs.get(worker.order.profile)?.started();
    worker.become(worker.sessionId === undefined ? 'warm' : 'idle');
    if (worker.sessionId !== undefined) this.#killed.delete(worker.sessionId);
    this.#options.log.info('worker_ready', `${worker.name} is ready`, {
      worker: worker.name,
      pid: worker.process.pid,
      profile: worker.order.profile,
      session_id: worker.sessionId,
      duration_ms: Math.round(performance.now() - worker.startedAt),
    });
    if (!worker.order.own) this.#options.onStart(worker.order.profile, true);
    this.#options.onChange();
  }

  #failed(worker: Worker, thrown: unknown): void {
    if (worker.state === 'recycling') return;
    worker.become('recycling');
    void this.#options.beforeEnd(worker.process.pid).then(() => worker.process.stop());
    this.#notStarted(worker.name, worker.order, thrown, worker.process.stderr);
  }

  #notStarted(name: string, order: Order, thrown: unknown, stderr: string): void {
    const error = this.#errorOf(order, thrown);
    if (error.code !== 'session_not_found') {
      this.#options.log.error('worker_failed', `${name} could not be started`, {
        worker: name,
        profile: order.profile,
        session_id: order.sessionId,
        error,
        stderr,
      });
    }
    const { sessionId } = order;
    if (sessionId === undefined) {
      // A request that asks for what the CLI does not take says nothing about the others.
      if (order.own) this.#options.onOwnFailed(order.key, error);
      else this.#slowDown(order.profile, error, stderr);
    } else if (wasKilled(error) && !this.#killed.delete(sessionId)) {
      // The kernel took it, or a person: nothing is wrong with the session, and who waits still does.
      this.#killed.add(sessionId);
    } else {
      // One session that cannot be resumed says nothing about the others.
      this.#options.onSessionFailed(sessionId, error);
    }
  }

  #errorOf(order: Order, thrown: unknown): BerthError {
    const error =
      thrown instanceof BerthError
        ? thrown
        : new BerthError(
            'cli_unavailable',
            `cannot start a worker: ${causeOfStartError(thrown) ?? String(thrown)}`,
            { cause: thrown },
          );
    if (order.sessionId !== undefined) return error;
    return order.own ? ofRequest(error) : this.#options.explain(order.profile, error);
  }

  #slowDown(profile: string, error: BerthError, stderr: string): void {
    if (this.#stopped) return;
    const backoff = this.#backoffs.get(profile) ?? new LaunchBackoff(this.#options.onChange);
    this.#backoffs.set(profile, backoff);
    backoff.failed(error, stderr);
    this.#options.onStart(profile, false);
    if (backoff.broken) this.#options.onHopeless(profile, error);
  }

  async #gone(worker: Worker, { exitCode, signal, stderr }: ProcessEnd): Promise<void> {
    const { state, order } = worker;
    const expected = state === 'recycling';
    if (!expected) this.#options.onCrash();
    if (state === 'warm' && !order.own) {
      const said = stderr && `, and wrote ${stderr}`;
      const error = new BerthError(
        'cli_unavailable',
        `cannot keep the CLI running: it ended by itself (exit code ${exitCode}, signal ${signal}) before its first prompt${said}; see what the .claude repository has it start`,
      );
      this.#slowDown(order.profile, this.#options.explain(order.profile, error), stderr);
    }
    this.#options.log[expected ? 'debug' : 'warn']('worker_ended', `${worker.name} ended`, {
      worker: worker.name,
      profile: order.profile,
      session_id: worker.sessionId,
      exit_code: exitCode,
      signal,
    });
    // Its place is free when all that it started is gone too.
    if (!expected) worker.become('recycling');
    await worker.process.stop();
    await this.#options.clearAway(worker.name, worker.process.pid);
    this.workers.delete(worker);
    this.#options.onChange();
  }
}

function wasKilled({ details }: BerthError): boolean {
  return details.signal === 'SIGKILL';
}

function ofRequest(error: BerthError): BerthError {
  if (error.code === 'session_not_found') return error;
  return new BerthError(
    error.code,
    `${error.message}; this request asks for a process of its own: if prompts without them are answered, its fork, model, allowed_tools or output_schema is the cause`,
    { cause: error, details: error.details },
  );
}
