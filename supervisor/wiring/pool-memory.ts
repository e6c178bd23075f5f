/**
 * Connects the memory guard and the pool, which do not know each other: lists the workers for the
 * guard, carries out its decisions, and removes what a worker leaves behind.
 */
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { pause } from '../../shared/waiting.ts';
import { marksOf } from '../claude/environment.ts';
import { refreshEnded } from '../claude/locks.ts';
import type { SupervisorConfig } from '../config.ts';
import { removeTraces } from '../memory/cli-traces.ts';
import { type GuardedWorker, MemoryGuard, type MemoryReport } from '../memory/guard.ts';
import { killMarked, killWithGroups } from '../memory/kill-marked.ts';
import { type Action, isNearLimit } from '../memory/policy.ts';
import type { Stage } from '../memory/reading.ts';
import { killStrays } from '../memory/strays.ts';
import type { Pool } from '../pool/pool.ts';
import type { Worker, WorkerState } from '../pool/worker.ts';

export interface PoolMemoryOptions {
  config: SupervisorConfig;
  pool: Pool;
  /** The memory limit of a worker by its profile, in bytes. */
  limitOf?: (profile: string) => number | undefined;
  log: Log;
  cgroupRoot?: string;
}

const stages: Record<WorkerState, Stage> = {
  starting: 'fresh',
  warm: 'fresh',
  busy: 'busy',
  idle: 'idle',
  recycling: 'leaving',
};

/** Milliseconds for a token refresh to end, where there is no hurry. */
const refreshPatience = 8_000;

export class PoolMemory {
  readonly #config: SupervisorConfig;
  readonly #pool: Pool;
  readonly #guard: MemoryGuard;
  /** For workers that are ended for memory, by pid: how long to wait for their refresh, in milliseconds. */
  readonly #patience = new Map<number, number>();
  /** The waits for a refresh that run, by pid. */
  readonly #refreshes = new Map<number, Promise<void>>();
  #hasVolume = true;

  constructor({ config, pool, limitOf, log, cgroupRoot }: PoolMemoryOptions) {
    this.#config = config;
    this.#pool = pool;
    this.#guard = new MemoryGuard({
      containerSoft: config.memorySoft,
      containerHard: config.memoryHard,
      workerSoft: config.workerMemorySoft,
      workerHard: config.workerMemoryHard,
      workers: () => pool.workers.flatMap((worker) => guarded(worker, limitOf)),
      marksOf: (name) => marksOf(config.configDirectory, name),
      act: (action) => this.#act(action),
      onCeiling: () => pool.reconsider(),
      log,
      ...(cgroupRoot === undefined ? {} : { cgroupRoot }),
    });
  }

  get report(): MemoryReport {
    return this.#guard.report;
  }

  get ceiling(): number {
    return this.#guard.ceiling;
  }

  /** Adds the container's part in a failed start to its error. */
  explain(thrown: unknown): unknown {
    const { tasks } = this.#guard;
    if (!(thrown instanceof BerthError) || !tasks || !isNearLimit(tasks)) return thrown;
    // Find the worker with too many processes now, and not in two seconds.
    this.#guard.sample();
    const { code, message, details } = thrown;
    return new BerthError(
      code,
      `${message}; the container has ${tasks.current} of the ${tasks.limit} tasks that its pids limit allows, see docs/memory.md`,
      { cause: thrown, details },
    );
  }

  /** @throws BerthError `config_invalid` if the container is too small for one worker */
  start(): void {
    this.#guard.start();
  }

  stop(): Promise<void> {
    return this.#guard.stop();
  }

  /** Waits for a token refresh of that CLI, bounded; never rejects. */
  async beforeEnd(pid: number | undefined): Promise<void> {
    if (pid === undefined) return;
    const { configDirectory } = this.#config;
    const atMost = this.#patience.get(pid) ?? refreshPatience;
    const over = refreshEnded({ pid, configDirectory }, atMost);
    this.#refreshes.set(pid, over);
    await over;
    if (this.#refreshes.get(pid) === over) this.#refreshes.delete(pid);
  }

  /** The volume belongs to another pod from now on: its CLIs have locks there, and are not seen here. */
  leaveVolume(): void {
    this.#hasVolume = false;
  }

  /** Ends the processes that a worker has left, and removes its locks and sockets. */
  async clearAway(name: string, pid: number | undefined): Promise<void> {
    const { configDirectory, inherited } = this.#config;
    // Processes that left the tree with a clean environment are known only by earlier readings.
    killWithGroups(this.#guard.pidsOf(name));
    await killMarked(marksOf(configDirectory, name));
    const others = this.#pool.workers.filter((worker) => worker.name !== name);
    await killStrays(others.flatMap(({ process }) => (process.alive ? (process.pid ?? []) : [])));
    if (pid === undefined || !this.#hasVolume) return;
    const temporaryDirectory = inherited.CLAUDE_CODE_TMPDIR ?? inherited.TMPDIR ?? '/tmp';
    await removeTraces({ pid, configDirectory, temporaryDirectory });
  }

  #act(action: Action): void {
    const worker = this.#pool.workers.find(({ name }) => name === action.worker);
    if (!worker) return;
    if (action.do === 'end') void this.#end(worker, action);
    else if (action.do === 'unmark') this.#pool.spare(worker, 'memory');
    else void this.#pool.recycle(worker, 'memory');
  }

  /**
   * Processes that left the CLI's process group are ended after the grace too. The grace begins after a running
   * refresh, since a kill during the refresh would lose the login.
   */
  async #end(worker: Worker, action: Extract<Action, { do: 'end' }>): Promise<void> {
    const { cause, grace, patience } = action;
    const { pid } = worker.process;
    if (pid !== undefined) {
      this.#patience.set(pid, patience);
      void worker.gone.then(() => this.#patience.delete(pid));
    }
    const reason = cause === 'processes' ? 'processes' : 'memory';
    const gone = this.#pool.recycle(worker, reason, true, grace);
    // Starts that failed because of the pids limit can succeed now.
    if (reason === 'processes') void gone.then(() => this.#pool.renew());
    if (pid !== undefined) await this.#refreshes.get(pid);
    await pause(grace);
    if (this.#pool.workers.includes(worker)) {
      await killMarked(marksOf(this.#config.configDirectory, worker.name));
    }
  }
}

function guarded(
  { name, state, startedAt, spec, isUnbound, process: { pid } }: Worker,
  limitOf: PoolMemoryOptions['limitOf'],
): GuardedWorker[] {
  // A shared spare belongs to no profile yet.
  const limit = isUnbound ? undefined : limitOf?.(spec.profile);
  return pid === undefined ? [] : [{ name, pid, stage: stages[state], startedAt, limit }];
}
