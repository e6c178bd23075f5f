/**
 * Decides what to do about memory, from the readings and the earlier decisions. This file reads and
 * changes nothing else.
 * Invariants: soft pressure never ends the last worker. A hard decision ends one worker; the next
 * decision waits until that worker is gone. If ending a worker did not lower the pressure, the
 * policy waits before it ends the next one. Decisions for the container and decisions for the bounds
 * of a worker wait separately. Under pressure there are never more workers than at its start.
 */
import { follow, type PressureState } from './pressure.ts';
import { type Bounds, boundsOfWorker, type Reading, type WorkerReading } from './reading.ts';

export const causes = [
  /** The container's working set is above a bound. */
  'container_hard',
  'container_soft',
  /** At its rate of growth the container reaches its limit in seconds. */
  'container_predicted',
  /** A worker's process tree is above its own bound. */
  'worker_hard',
  'worker_soft',
  /** A worker's process tree uses nearly all processes that the container may have. */
  'processes',
] as const;

export type Cause = (typeof causes)[number];

export type Action =
  /** The worker serves no prompt and is ended now. */
  | { do: 'recycle'; worker: string; cause: Cause }
  /** The worker is ended when its turn ends. */
  | { do: 'mark'; worker: string; cause: Cause }
  /** The worker may stay after its turn. */
  | { do: 'unmark'; worker: string }
  /**
   * The worker is ended in the middle of its turn. `grace`: milliseconds for the end. `patience`:
   * milliseconds to wait first for work that must not be torn.
   */
  | { do: 'end'; worker: string; cause: Cause; grace: number; patience: number };

/** Which bound a hard decision enforces: one of the container, or one of a single worker. */
type Scope = 'container' | 'worker';

/** When a hard decision was made, and how long no other is made if the pressure did not fall. */
interface Ended {
  at: number;
  pause: number;
}

export interface State extends PressureState {
  /** Workers that are ended when their turn ends. */
  marked: ReadonlySet<string>;
  /** The last hard decision for each kind of bound. */
  ended: Readonly<Record<Scope, Ended>>;
  /** Workers that were being ended already, and whose end was hastened by a hard decision. */
  hastened: ReadonlySet<string>;
  /** Since when the container's pressure is not hard; undefined while it is hard. */
  belowHard: number | undefined;
  /** When the last worker was ended for the container's soft bound. */
  eased: number;
}

const never: Ended = { at: Number.NEGATIVE_INFINITY, pause: 0 };

export const initialState: State = {
  level: 'none',
  ceiling: undefined,
  since: Number.NEGATIVE_INFINITY,
  calm: 0,
  marked: new Set(),
  ended: { container: never, worker: never },
  hastened: new Set(),
  belowHard: Number.NEGATIVE_INFINITY,
  eased: Number.NEGATIVE_INFINITY,
};

const second = 1_000;
/** How long the policy waits for a leaving worker before it ends the next one. */
const leavingTime = 3 * second;
const pauses = { first: second, longest: 60 * second, forgottenAfter: 120 * second };
/**
 * Pressure that stays below hard for this long is relieved: the replacement has started by then.
 */
const reliefTime = 10 * second;
/**
 * The pause between two workers that are ended for the container's soft bound: the effect must be
 * visible first.
 */
const settling = second;
/** How far ahead growth is extrapolated to find the largest worker, in seconds. */
const horizon = 10;
/** Bytes a second: a worker that grows this fast is the cause, and no pause protects it. */
const leaking = 5 * 2 ** 20;
const graces = { least: 100, most: 2 * second };
const patiences = { least: 50, most: 8 * second };

export function decide(
  reading: Reading,
  bounds: Bounds,
  before: State,
): { actions: Action[]; state: State } {
  const names = new Set(reading.workers.map(({ name }) => name));
  const pressure = follow(reading, bounds, before);
  const below = before.belowHard ?? reading.now;
  const state = {
    ...before,
    ...pressure.state,
    belowHard: pressure.state.level === 'hard' ? undefined : below,
    marked: new Set([...before.marked].filter((name) => names.has(name))),
    hastened: new Set([...before.hastened].filter((name) => names.has(name))),
  };
  const round = new Round(reading, bounds, state, reading.now - below);
  const cause = pressure.cause;
  if (!round.endOne(cause) && cause !== 'container_hard' && cause !== 'container_predicted') {
    round.easeWorkers();
    if (cause === 'container_soft') round.easeContainer();
    else round.unmark();
  }
  round.keepOne();
  return { actions: round.actions, state: round.state };
}

class Round {
  readonly actions: Action[] = [];
  state: State;
  readonly #reading: Reading;
  readonly #bounds: Bounds;
  /** Milliseconds for which the last hard decision for the container has helped. */
  readonly #relief: number;
  /** Workers that are not being ended. */
  #staying: readonly WorkerReading[];

  constructor(reading: Reading, bounds: Bounds, state: State, relief: number) {
    this.#reading = reading;
    this.#bounds = bounds;
    this.state = state;
    this.#relief = relief;
    this.#staying = reading.workers.filter(({ stage }) => stage !== 'leaving');
  }

  /** Applies the hard bounds. */
  endOne(pressure: Cause | undefined): boolean {
    const { now } = this.#reading;
    const { ended } = this.state;
    const leaving = this.#reading.workers.length > this.#staying.length;
    const last = Math.max(ended.container.at, ended.worker.at);
    if (leaving && now - last < leavingTime) return false;
    const choices = [this.#forProcesses(), this.#forItself(), this.#forContainer(pressure)];
    return choices.some((choice) => choice !== undefined && this.#end(choice));
  }

  /** Ends the worker, unless an earlier decision of the same scope pauses this one. */
  #end({ worker, cause }: { worker: WorkerReading; cause: Cause }): boolean {
    const { now } = this.#reading;
    const scope: Scope = cause.startsWith('container') ? 'container' : 'worker';
    const { at, pause } = this.state.ended[scope];
    const again = now - at < pauses.forgottenAfter;
    const leaks = worker.warmedUp && (worker.growth ?? 0) >= leaking;
    const relief = scope === 'container' ? this.#relief : Number.NEGATIVE_INFINITY;
    const relieved = cause === 'processes' || relief >= reliefTime || (leaks && relief > 0);
    const paused = !relieved && now - at < pause;
    if (paused && !leaks) return false;
    const longer =
      again && !relieved ? Math.min(pauses.longest, Math.max(pause, pauses.first) * 2) : 0;
    const next = { at: now, pause: Math.max(longer, pauses.first) };
    this.state = { ...this.state, ended: { ...this.state.ended, [scope]: next } };
    if (worker.stage === 'leaving') {
      this.state = { ...this.state, hastened: new Set([...this.state.hastened, worker.name]) };
    }
    this.#decide({ do: 'end', worker: worker.name, cause, ...this.#haste() });
    return true;
  }

  #forProcesses() {
    const { tasks } = this.#reading.container ?? {};
    const sorted = this.#staying.toSorted((a, b) => b.processes - a.processes);
    const worker = sorted[0];
    if (!worker) return undefined;
    // Threads count as tasks too, and a CLI has some; no worker needs this many processes.
    const full = tasks !== undefined && isNearLimit(tasks) && worker.processes > 50;
    return full || worker.processes > this.#bounds.workerProcesses
      ? { worker, cause: 'processes' as const }
      : undefined;
  }

  #forItself() {
    const above = (worker: WorkerReading) => worker.bytes > this.#boundsOf(worker).hard;
    const worker = this.#largest(this.#staying.filter((each) => each.warmedUp && above(each)));
    return worker && { worker, cause: 'worker_hard' as const };
  }

  /**
   * The worker that will be the largest when the container is full at this rate. It may be one that is being ended: it
   * can still leak, and no other worker must be ended for it. Its end is hastened once.
   */
  #forContainer(cause: Cause | undefined) {
    if (cause !== 'container_hard' && cause !== 'container_predicted') return undefined;
    const later = ({ bytes, growth = 0, warmedUp }: WorkerReading) =>
      bytes + (warmedUp ? Math.max(0, growth) * horizon : 0);
    const { hastened } = this.state;
    const leaving = this.#reading.workers.filter(
      ({ name, stage }) => stage === 'leaving' && !hastened.has(name),
    );
    const worker = [...this.#staying, ...leaving].toSorted((a, b) => later(b) - later(a))[0];
    return worker && { worker, cause };
  }

  /** Of the time until the limit, a quarter is for waiting and half for ending. */
  #haste(): { grace: number; patience: number } {
    const { container, workers } = this.#reading;
    const rate = Math.max(
      container?.growth ?? 0,
      workers.reduce((sum, { growth = 0 }) => sum + Math.max(0, growth), 0),
    );
    const left =
      container?.limit !== undefined && rate > 0
        ? ((container.limit - container.workingSet) / rate) * second
        : Number.POSITIVE_INFINITY;
    return { grace: within(graces, left / 2), patience: within(patiences, left / 4) };
  }

  /** Workers above their own soft bound: idle workers immediately, the largest first. */
  easeWorkers(): void {
    const above = this.#staying
      .filter((worker) => worker.stage !== 'fresh' && worker.bytes > this.#boundsOf(worker).soft)
      .sort((a, b) => b.bytes - a.bytes);
    for (const worker of above.filter(({ stage }) => stage === 'idle')) {
      if (this.#isLast(worker)) break;
      this.#decide({ do: 'recycle', worker: worker.name, cause: 'worker_soft' });
    }
    for (const worker of above.filter(({ stage }) => stage === 'busy')) {
      this.#mark(worker, 'worker_soft');
    }
  }

  /** Ends an idle worker, or a spare worker; otherwise marks a busy worker. */
  easeContainer(): void {
    const { now, workers } = this.#reading;
    if (workers.length > this.#staying.length || this.actions.some(isEasing)) return;
    if (now - this.state.eased < settling) return;
    const worker =
      this.#largest(this.#staying.filter(({ stage }) => stage === 'idle')) ??
      this.#largest(this.#staying.filter(({ stage, warmedUp }) => stage === 'fresh' && warmedUp));
    if (worker && !this.#isLast(worker)) {
      const { ceiling = this.#staying.length } = this.state;
      this.state = { ...this.state, eased: now, ceiling: Math.max(1, ceiling - 1) };
      this.#decide({ do: 'recycle', worker: worker.name, cause: 'container_soft' });
      return;
    }
    const busy = this.#staying.filter(
      ({ name, stage }) => stage === 'busy' && !this.state.marked.has(name),
    );
    const largest = this.#largest(busy);
    if (largest) this.#mark(largest, 'container_soft');
  }

  /** Withdraws marks when the pressure is over and the workers are small again. */
  unmark(): void {
    for (const worker of this.#staying) {
      const small = worker.bytes < this.#boundsOf(worker).soft * lowerShare;
      if (small && this.state.level === 'none') this.#unmark(worker.name);
    }
  }

  /** Other workers have ended since the mark: this worker would now be the last. */
  keepOne(): void {
    const { marked } = this.state;
    if (this.#staying.some(({ name }) => !marked.has(name))) return;
    const smallest = this.#staying.toSorted((a, b) => a.bytes - b.bytes)[0];
    if (smallest) this.#unmark(smallest.name);
  }

  #unmark(worker: string): void {
    if (!this.state.marked.has(worker)) return;
    const marked = [...this.state.marked].filter((name) => name !== worker);
    this.state = { ...this.state, marked: new Set(marked) };
    this.actions.push({ do: 'unmark', worker });
  }

  #mark(worker: WorkerReading, cause: Cause): void {
    if (this.state.marked.has(worker.name) || this.#isLast(worker)) return;
    this.state = { ...this.state, marked: new Set([...this.state.marked, worker.name]) };
    this.actions.push({ do: 'mark', worker: worker.name, cause });
  }

  #decide(action: Extract<Action, { do: 'recycle' | 'end' }>): void {
    this.#staying = this.#staying.filter(({ name }) => name !== action.worker);
    this.actions.push(action);
  }

  #boundsOf(worker: WorkerReading): { soft: number; hard: number } {
    return boundsOfWorker(worker, this.#bounds);
  }

  /** Whether no worker would be left without this one, after the marked workers have ended. */
  #isLast(worker: WorkerReading): boolean {
    return !this.#staying.some(({ name }) => name !== worker.name && !this.state.marked.has(name));
  }

  #largest(workers: readonly WorkerReading[]): WorkerReading | undefined {
    return workers.toSorted((a, b) => b.bytes - a.bytes)[0];
  }
}

/**
 * A bound counts as passed until the value is below this share of it; otherwise the state would
 * flap.
 */
const lowerShare = 0.93;

/** Whether the container uses nearly all processes and threads that it may have. */
export function isNearLimit({ current, limit }: { current: number; limit: number }): boolean {
  return current > limit * 0.9;
}

function within({ least, most }: { least: number; most: number }, milliseconds: number): number {
  return Math.round(Math.max(least, Math.min(most, milliseconds)));
}

function isEasing(action: Action): boolean {
  return action.do === 'recycle' || action.do === 'end';
}
