/**
 * What is to be done about memory: from what was read, and what was decided before, to what is done
 * now. Nothing here reads or changes anything.
 * Always holds: soft pressure never takes the last worker; a hard decision takes one worker, and the
 * next only when that one is gone; whoever brings no relief is not followed by others at once; under
 * pressure there are never more workers than when it began.
 */
import { follow, type PressureState } from './pressure.ts';
import { type Bounds, boundsOfWorker, type Reading, type WorkerReading } from './reading.ts';

export const causes = [
  /** The container's working set is above a bound. */
  'container_hard',
  'container_soft',
  /** At its rate of growth the container will be at its limit in seconds. */
  'container_predicted',
  /** A worker's tree is above a bound of its own. */
  'worker_hard',
  'worker_soft',
  /** A worker's tree has taken nearly all processes that the container may have. */
  'processes',
] as const;

export type Cause = (typeof causes)[number];

export type Action =
  /** It serves nobody: it goes now. */
  | { do: 'recycle'; worker: string; cause: Cause }
  /** It goes when its turn is over. */
  | { do: 'mark'; worker: string; cause: Cause }
  /** It may stay after its turn. */
  | { do: 'unmark'; worker: string }
  /**
   * It goes in the middle of its turn; milliseconds that it has for that, and that what an end would
   * tear is waited for before.
   */
  | { do: 'end'; worker: string; cause: Cause; grace: number; patience: number };

export interface State extends PressureState {
  /** Workers that go when their turn is over. */
  marked: ReadonlySet<string>;
  /**
   * When the last hard decision was, for which reason, and how long no other is taken if it has
   * brought no relief.
   */
  ended: { at: number; pause: number; cause?: Cause };
  /** Since when the container's pressure is not hard; undefined while it is. */
  belowHard: number | undefined;
  /** When the last worker went for the container's soft bound. */
  eased: number;
}

export const initialState: State = {
  level: 'none',
  ceiling: undefined,
  since: Number.NEGATIVE_INFINITY,
  calm: 0,
  marked: new Set(),
  ended: { at: Number.NEGATIVE_INFINITY, pause: 0 },
  belowHard: Number.NEGATIVE_INFINITY,
  eased: Number.NEGATIVE_INFINITY,
};

const second = 1_000;
/** A worker that is leaving is waited for so long before the next one goes. */
const leavingTime = 3 * second;
const pauses = { first: second, longest: 60 * second, forgottenAfter: 120 * second };
/** So long the pressure is not hard if it was relieved: the replacement has started by then. */
const reliefTime = 10 * second;
/** Between two that go for the container's soft bound: the effect is to be seen first. */
const settling = second;
/** How far ahead the fattest is sought, in seconds. */
const horizon = 10;
/** Bytes a second: who grows like this is the cause, and is not spared by a pause. */
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
  const forContainer = before.ended.cause?.startsWith('container') ?? false;
  const below = before.belowHard ?? reading.now;
  const relief = forContainer ? reading.now - below : Number.NEGATIVE_INFINITY;
  const state = {
    ...before,
    ...pressure.state,
    belowHard: pressure.state.level === 'hard' ? undefined : below,
    marked: new Set([...before.marked].filter((name) => names.has(name))),
  };
  const round = new Round(reading, bounds, state, relief);
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
  /** Milliseconds for which the last hard decision, if it was for the container, has helped. */
  readonly #relief: number;
  /** Those that are not on their way out. */
  #staying: readonly WorkerReading[];

  constructor(reading: Reading, bounds: Bounds, state: State, relief: number) {
    this.#reading = reading;
    this.#bounds = bounds;
    this.state = state;
    this.#relief = relief;
    this.#staying = reading.workers.filter(({ stage }) => stage !== 'leaving');
  }

  /** The hard bounds. */
  endOne(pressure: Cause | undefined): boolean {
    const { now } = this.#reading;
    const { ended } = this.state;
    const leaving = this.#reading.workers.length > this.#staying.length;
    if (leaving && now - ended.at < leavingTime) return false;
    const choice = this.#forProcesses() ?? this.#forItself() ?? this.#forContainer(pressure);
    if (!choice) return false;
    const { worker, cause } = choice;
    const again = now - ended.at < pauses.forgottenAfter;
    const leaks = worker.warmedUp && (worker.growth ?? 0) >= leaking;
    const relieved =
      choice.cause === 'processes' || this.#relief >= reliefTime || (leaks && this.#relief > 0);
    const paused = !relieved && now - ended.at < ended.pause;
    if (paused && !leaks) return false;
    const pause =
      again && !relieved ? Math.min(pauses.longest, Math.max(ended.pause, pauses.first) * 2) : 0;
    this.state = { ...this.state, ended: { at: now, cause, pause: Math.max(pause, pauses.first) } };
    this.#decide({ do: 'end', worker: worker.name, cause, ...this.#haste() });
    return true;
  }

  #forProcesses() {
    const { tasks } = this.#reading.container ?? {};
    const sorted = this.#staying.toSorted((a, b) => b.processes - a.processes);
    const worker = sorted[0];
    if (!worker) return undefined;
    // Threads count as tasks too, of which a CLI has some; so many processes no worker needs.
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

  /** The fattest, as it will be when the container is full at this rate. */
  #forContainer(cause: Cause | undefined) {
    if (cause !== 'container_hard' && cause !== 'container_predicted') return undefined;
    const later = ({ bytes, growth = 0, warmedUp }: WorkerReading) =>
      bytes + (warmedUp ? Math.max(0, growth) * horizon : 0);
    const worker = this.#staying.toSorted((a, b) => later(b) - later(a))[0];
    return worker && { worker, cause };
  }

  /** Of the time that is left until the limit a quarter to wait in, and half to end in. */
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

  /** Workers above their own soft bound: at once who is idle, the largest first. */
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

  /** One that is idle, or one that serves nobody yet; else one that is busy is marked. */
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

  /** The pressure is over, and they are small again. */
  unmark(): void {
    for (const worker of this.#staying) {
      const small = worker.bytes < this.#boundsOf(worker).soft * lowerShare;
      if (small && this.state.level === 'none') this.#unmark(worker.name);
    }
  }

  /** Others have gone since it was marked: now it would be the last. */
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

  /** Whether nobody would be there without it, when those that are marked have gone. */
  #isLast(worker: WorkerReading): boolean {
    return !this.#staying.some(({ name }) => name !== worker.name && !this.state.marked.has(name));
  }

  #largest(workers: readonly WorkerReading[]): WorkerReading | undefined {
    return workers.toSorted((a, b) => b.bytes - a.bytes)[0];
  }
}

/** A bound counts as passed until so much of it is left: else it would come and go. */
const lowerShare = 0.93;

/** Whether the container has nearly all processes and threads that it may have. */
export function isNearLimit({ current, limit }: { current: number; limit: number }): boolean {
  return current > limit * 0.9;
}

function within({ least, most }: { least: number; most: number }, milliseconds: number): number {
  return Math.round(Math.max(least, Math.min(most, milliseconds)));
}

function isEasing(action: Action): boolean {
  return action.do === 'recycle' || action.do === 'end';
}
