/**
 * The memory guard: reads memory, decides (policy.ts) and acts, in rounds that are more frequent
 * the less memory is left.
 * Invariants: the guard reaches the pool through two functions only. One round runs at a time. Each
 * decision is logged with the readings behind it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Log } from '../../shared/log.ts';
import {
  type ContainerMemory,
  findMemoryCgroup,
  type MemoryCgroup,
  readContainerMemory,
  readUsage,
} from './cgroup.ts';
import { describeDecision, logLevelChange, logOomKills, type Sights } from './describe.ts';
import { Growth } from './growth.ts';
import { type Action, type Cause, decide, initialState, type State } from './policy.ts';
import { workersThatFit } from './pressure.ts';
import { ProcessTrees } from './process-trees.ts';
import {
  type BoundSettings,
  type Bounds,
  boundsOf,
  hasWarmedUp,
  type Reading,
  type Stage,
} from './reading.ts';
import { nextBound, untilNextGlance, untilNextLook } from './sampling-interval.ts';
import { refuseTooSmall } from './too-small.ts';

export interface GuardedWorker {
  name: string;
  pid: number;
  stage: Stage;
  /** A time of performance.now(). */
  startedAt: number;
  /** The hard bound of the profile, instead of the general bound; bytes. */
  limit?: number | undefined;
}

export interface GuardOptions extends BoundSettings {
  workers: () => readonly GuardedWorker[];
  /** The environment variables that every process of the worker carries. */
  marksOf: (worker: string) => Readonly<Record<string, string>>;
  act: (action: Action) => void;
  /** Called when the ceiling changes. */
  onCeiling?: () => void;
  log: Log;
  /** Where cgroups and procfs are mounted. */
  cgroupRoot?: string;
  procRoot?: string;
}

export interface MemoryReport extends Sights {
  /** Decisions since the start, by cause, including marks that were withdrawn. */
  decisions: ReadonlyMap<Cause, number>;
  /** Milliseconds of processor time that the last round blocked the event loop. */
  roundMs: number;
}

export class MemoryGuard {
  readonly #options: GuardOptions;
  readonly #trees: ProcessTrees;
  readonly #stopping = new AbortController();
  readonly #growths = new Map<string, Growth>();
  readonly #containerGrowth = new Growth();
  readonly #growthAboveSoft = new Growth();
  readonly #decisions = new Map<Cause, number>();
  #cgroup: MemoryCgroup | undefined;
  #looping: Promise<void> = Promise.resolve();
  #measuring: Promise<void> | undefined;
  #state: State = initialState;
  #reading: Reading = { now: 0, container: undefined, workers: [] };
  #bounds: Bounds;
  #roundMs = 0;

  constructor(options: GuardOptions) {
    this.#options = options;
    this.#bounds = boundsOf(options, undefined);
    const { marksOf, procRoot } = options;
    this.#trees = new ProcessTrees({ marksOf, ...(procRoot ? { root: procRoot } : {}) });
  }

  /** The living processes that were ever seen in the worker's tree. */
  pidsOf(worker: string): number[] {
    return this.#trees.pidsOf(worker);
  }

  get report(): MemoryReport {
    const decisions = this.#decisions;
    const [reading, bounds, state] = [this.#reading, this.#bounds, this.#state];
    return { reading, bounds, level: state.level, decisions, roundMs: this.#roundMs };
  }

  /** The current number of tasks; undefined if the container has no limit of tasks. */
  get tasks(): ContainerMemory['tasks'] {
    return this.#cgroup && readContainerMemory(this.#cgroup)?.tasks;
  }

  /** The largest number of workers allowed now. */
  get ceiling(): number {
    const { level, ceiling } = this.#state;
    const fit = workersThatFit(this.#reading, this.#bounds);
    if (level !== 'hard') return Math.min(ceiling ?? Number.POSITIVE_INFINITY, fit);
    // The slot of an ended worker is filled when there is enough memory again.
    const staying = this.#options.workers().filter(({ stage }) => stage !== 'leaving');
    return Math.max(1, staying.length);
  }

  /** @throws BerthError `config_invalid` if the container is too small for one worker */
  start(): void {
    const { cgroupRoot, procRoot, log } = this.#options;
    this.#cgroup = findMemoryCgroup(cgroupRoot, procRoot);
    this.sample();
    const limit = this.#reading.container?.limit;
    if (limit === undefined) {
      log.info(
        'memory_unreadable',
        this.#cgroup
          ? 'the container has no memory limit: shares of it do not apply; set resources.limits.memory'
          : 'there is no memory cgroup: only the bounds of each worker apply; set resources.limits.memory',
      );
    } else refuseTooSmall(limit, this.#bounds.hard, this.#options.containerHard);
    this.#looping = this.#loop();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#looping;
    await this.#measuring;
  }

  /** Runs one round. */
  sample(): void {
    const began = performance.now();
    const container = this.#cgroup && readContainerMemory(this.#cgroup);
    const before = this.#reading.container;
    this.#bounds = boundsOf(this.#options, container?.limit);
    this.#reading = this.#read(began, container);
    logOomKills(this.#options.log, before, container);
    const { level } = this.#state;
    const ceiling = this.ceiling;
    const { actions, state } = decide(this.#reading, this.#bounds, this.#state);
    this.#state = state;
    logLevelChange(this.#options.log, level, this.report);
    for (const action of actions) this.#carryOut(action);
    if (this.ceiling !== ceiling) this.#options.onCeiling?.();
    this.#roundMs = performance.now() - began;
  }

  async #loop(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.#untilNextLook(signal);
      if (signal.aborted) return;
      this.sample();
      // Not urgent: measuring takes the kernel some milliseconds.
      if (this.#state.level !== 'none' || this.#measuring) continue;
      this.#measuring = this.#trees.measure(performance.now()).finally(() => {
        this.#measuring = undefined;
      });
    }
  }

  /** Returns when the next round is due, or when the container is above its next bound. */
  async #untilNextLook(signal: AbortSignal): Promise<void> {
    const due = performance.now() + untilNextLook(this.#reading, this.#bounds, this.#state);
    for (let left = due - performance.now(); left > 0; left = due - performance.now()) {
      const pause = untilNextGlance(this.#reading, this.#bounds, this.#state.level);
      const options = { signal, ref: false };
      await delay(Math.min(left, pause), undefined, options).catch(() => undefined);
      if (signal.aborted || this.#hasPassedBound()) return;
    }
  }

  /** Reads one file, and the others only if more memory than before may be in use. */
  #hasPassedBound(): boolean {
    const before = this.#reading.container;
    const bound = nextBound(this.#bounds, this.#state.level);
    if (!this.#cgroup || !before || bound === Number.POSITIVE_INFINITY) return false;
    const used = readUsage(this.#cgroup);
    if (used === undefined || used - before.reclaimable <= bound) return false;
    return (readContainerMemory(this.#cgroup)?.workingSet ?? 0) > bound;
  }

  #read(now: number, container: ContainerMemory | undefined): Reading {
    const workers = this.#options.workers();
    const trees = this.#trees.read(workers);
    const names = new Set(workers.map(({ name }) => name));
    for (const name of this.#growths.keys()) if (!names.has(name)) this.#growths.delete(name);
    return {
      now,
      container: container && { ...container, ...this.#grown(now, container.workingSet) },
      workers: workers.map(({ name, stage, startedAt, limit }) => {
        const { bytes = 0, resident = 0, largest = 0, processes = 0 } = trees.get(name) ?? {};
        const growth = this.#growths.get(name) ?? new Growth();
        this.#growths.set(name, growth);
        growth.add(now, resident);
        const warmedUp = hasWarmedUp(now - startedAt, largest);
        return { name, stage, bytes, processes, growth: growth.rate, warmedUp, limit };
      }),
    };
  }

  #grown(now: number, workingSet: number) {
    if (workingSet > this.#bounds.soft) this.#growthAboveSoft.add(now, workingSet);
    else this.#growthAboveSoft.forget();
    this.#containerGrowth.add(now, workingSet);
    return { growth: this.#containerGrowth.rate, growthAboveSoft: this.#growthAboveSoft.rate };
  }

  #carryOut(action: Action): void {
    if (action.do !== 'unmark') {
      this.#decisions.set(action.cause, (this.#decisions.get(action.cause) ?? 0) + 1);
      const { message, fields } = describeDecision(action, this.report);
      this.#options.log.warn('memory_limit', message, fields);
    }
    this.#options.act(action);
  }
}
