/**
 * The life of the workers: they are started and prepared, they end, and they are removed from the list when all
 * their processes have ended. Starts of a profile that fail are slowed down, and after some failures rejected.
 */
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { ProcessEnd } from '../claude/child.ts';
import type { ClaudeProcess } from '../claude/process.ts';
import { causeOfStartError } from '../claude/start-error.ts';
import { LaunchBackoff, type LaunchFailure } from './backoff.ts';
import { type LostWork, lostWork } from './end-worker.ts';
import type { ProcessSpec } from './process-spec.ts';
import { Worker } from './worker.ts';

export interface LaunchesOptions {
  prepare: (process: ClaudeProcess, spec: ProcessSpec) => Promise<void>;
  clearAway: (name: string, pid: number | undefined) => Promise<void>;
  /** Waits until that CLI is not refreshing its login, which an end would lose; never rejects. */
  beforeEnd: (pid: number | undefined) => Promise<void>;
  log: Log;
  /** A worker has become ready, has ended, or may be started again. */
  onChange: () => void;
  /** A session cannot be resumed. */
  onSessionFailed: (sessionId: string, error: BerthError) => void;
  /** A process with flags of a single request cannot be started. */
  onOwnFailed: (key: string, error: BerthError) => void;
  /** Adds to the error what else is known about the failed starts of a profile. */
  explain: (profile: string, error: BerthError) => BerthError;
  /** A worker of the profile has become ready, or could not be started. */
  onStart: (profile: string, ready: boolean) => void;
  /** So many starts have failed that no prompt should wait for the next one. */
  onHopeless: (profile: string, error: BerthError) => void;
  /** A worker has ended by itself. */
  onCrash: () => void;
  /** Work in the background has ended with its process, which ended by itself. */
  onWorkLost: (lost: LostWork) => void;
}

export class Launches {
  readonly workers = new Set<Worker>();
  readonly #options: LaunchesOptions;
  readonly #backoffs = new Map<string, LaunchBackoff>();
  /** Sessions whose process was killed before it was ready: it is started once more. */
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
   * The error for a prompt that would wait for a hopeless start: too many starts have failed, and either the
   * pause after the last failure is not over, or another prompt has caused a start already.
   */
  hopeless(profile: string): BerthError | undefined {
    const backoff = this.#backoffs.get(profile);
    if (!backoff?.broken) return undefined;
    const trying = [...this.workers].some(
      ({ state, spec }) => state === 'starting' && spec.profile === profile,
    );
    return backoff.waiting || trying ? backoff.failure?.error : undefined;
  }

  /** A worker has got a prompt. */
  proved(profile: string): void {
    this.#backoffs.get(profile)?.proved();
  }

  /** The profiles have changed, which may be the end of the failures. */
  forgive(): void {
    for (const backoff of this.#backoffs.values()) backoff.stop();
    this.#backoffs.clear();
  }

  stop(): void {
    this.#stopped = true;
    for (const backoff of this.#backoffs.values()) backoff.stop();
  }

  launch(spec: ProcessSpec): void {
    const name = `worker-${++this.#serial}`;
    let process: ClaudeProcess;
    try {
      process = spec.launch(name);
    } catch (thrown) {
      // The system may refuse at once, for example without memory for another process.
      this.#notStarted(name, spec, thrown, '');
      return;
    }
    const worker = new Worker(name, process, spec);
    this.workers.add(worker);
    this.#options.log.debug('worker_starting', `starting ${name}`, {
      worker: name,
      profile: spec.profile,
      session_id: spec.sessionId,
    });
    const prepared = this.#options.prepare(process, spec).then(
      () => this.#ready(worker),
      (error: unknown) => this.#failed(worker, error),
    );
    // The failure of a start is noted before the end of its process frees a place.
    worker.gone = Promise.all([process.ended, prepared]).then(([end]) => this.#gone(worker, end));
  }

  #ready(worker: Worker): void {
    if (worker.state !== 'starting') return;
    this.#backoffs.get(worker.spec.profile)?.started();
    worker.become(worker.sessionId === undefined ? 'warm' : 'idle');
    this.#killed.delete(worker.sessionId ?? worker.spec.key);
    this.#options.log.info('worker_ready', `${worker.name} is ready`, {
      worker: worker.name,
      pid: worker.process.pid,
      profile: worker.spec.profile,
      session_id: worker.sessionId,
      duration_ms: Math.round(performance.now() - worker.startedAt),
    });
    if (!worker.spec.own) this.#options.onStart(worker.spec.profile, true);
    this.#options.onChange();
  }

  #failed(worker: Worker, thrown: unknown): void {
    if (worker.state === 'recycling') return;
    worker.become('recycling');
    void this.#options.beforeEnd(worker.process.pid).then(() => worker.process.stop());
    this.#notStarted(worker.name, worker.spec, thrown, worker.process.stderr);
  }

  #notStarted(name: string, spec: ProcessSpec, thrown: unknown, stderr: string): void {
    const error = this.#errorOf(spec, thrown);
    if (error.code !== 'session_not_found') {
      this.#options.log.error('worker_failed', `${name} could not be started`, {
        worker: name,
        profile: spec.profile,
        session_id: spec.sessionId,
        error,
        stderr,
      });
    }
    const { sessionId } = spec;
    const alone = sessionId ?? (spec.own ? spec.key : undefined);
    if (alone !== undefined && wasKilled(error) && !this.#killed.delete(alone)) {
      // The kernel or a person killed it. Nothing is wrong with what it was started for: the prompts of the
      // session, or the request with a process of its own, wait for the next start.
      this.#killed.add(alone);
    } else if (sessionId !== undefined) {
      // A session that cannot be resumed says nothing about other sessions.
      this.#options.onSessionFailed(sessionId, error);
    } else if (spec.own) {
      // Flags of one request that the CLI rejects say nothing about other requests.
      this.#options.onOwnFailed(spec.key, error);
    } else {
      this.#slowDown(spec.profile, error, stderr);
    }
  }

  #errorOf(spec: ProcessSpec, thrown: unknown): BerthError {
    const error =
      thrown instanceof BerthError
        ? thrown
        : new BerthError(
            'cli_unavailable',
            `cannot start a worker: ${causeOfStartError(thrown) ?? String(thrown)}`,
            { cause: thrown },
          );
    if (spec.sessionId !== undefined) return error;
    return spec.own ? ofRequest(error) : this.#options.explain(spec.profile, error);
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
    const { state, spec } = worker;
    const expected = state === 'recycling';
    if (!expected) this.#crashed(worker);
    if (state === 'warm' && !spec.own) {
      const said = stderr && `, and wrote ${stderr}`;
      const error = new BerthError(
        'cli_unavailable',
        `cannot keep the CLI running: it ended by itself (exit code ${exitCode}, signal ${signal}) before its first prompt${said}; check the programs that the .claude repository makes it start`,
      );
      this.#slowDown(spec.profile, this.#options.explain(spec.profile, error), stderr);
    }
    this.#options.log[expected ? 'debug' : 'warn']('worker_ended', `${worker.name} ended`, {
      worker: worker.name,
      profile: spec.profile,
      session_id: worker.sessionId,
      exit_code: exitCode,
      signal,
    });
    // The place is free when all processes that the worker started have ended.
    if (!expected) worker.become('recycling');
    await worker.process.stop();
    await this.#options.clearAway(worker.name, worker.process.pid);
    this.workers.delete(worker);
    this.#options.onChange();
  }

  #crashed(worker: Worker): void {
    this.#options.onCrash();
    const lost = lostWork(worker, 'crashed');
    if (lost) this.#options.onWorkLost(lost);
  }
}

function wasKilled({ details }: BerthError): boolean {
  return details.signal === 'SIGKILL';
}

function ofRequest(error: BerthError): BerthError {
  if (error.code === 'session_not_found') return error;
  return new BerthError(
    error.code,
    `${error.message}; this request needs its own process: if prompts without fork, model, allowed_tools and output_schema are answered, one of these fields is the cause`,
    { cause: error, details: error.details },
  );
}
