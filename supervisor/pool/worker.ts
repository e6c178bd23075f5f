/**
 * A worker: one CLI process and what the pool knows about the process.
 * Invariants: a worker serves one session in its life and one turn at a time; its state changes only along the
 * table below.
 */
import { BerthError } from '../../shared/errors.ts';
import type { ClaudeProcess } from '../claude/process.ts';
import type { ProcessSpec } from './process-spec.ts';

/** The states of a worker, and which states may follow each of them. `recycling` is the last one. */
const transitions = {
  /** Its process does not reply yet. */
  starting: ['warm', 'idle', 'recycling'],
  /** It has no session and runs no turn. */
  warm: ['busy', 'recycling'],
  /** It runs a turn. */
  busy: ['idle', 'warm', 'recycling'],
  /** It keeps its session and waits for its next prompt. */
  idle: ['busy', 'recycling'],
  /** It is being ended. */
  recycling: [],
} as const satisfies Record<string, readonly string[]>;

export type WorkerState = keyof typeof transitions;

export const workerStates = Object.keys(transitions) as WorkerState[];

export const recycleReasons = [
  /** The worker, or the container, uses too much memory. */
  'memory',
  /** The worker has too many processes. */
  'processes',
  'idle',
  'place',
  /** The worker was started with flags that are out of date. */
  'renewed',
  'unresponsive',
  'crashed',
  /** Its turn waits for an approval, and another prompt needs the place. */
  'approval',
  /** The worker may have read settings that a tool had changed. */
  'configuration',
  /** Its session was removed. */
  'removed',
  /** The worker worked without a prompt while nothing may run. */
  'unprompted',
  'stopping',
  /** The volume belongs to another pod. */
  'lease_lost',
] as const;

export type RecycleReason = (typeof recycleReasons)[number];

export class Worker {
  readonly name: string;
  readonly process: ClaudeProcess;
  readonly startedAt = performance.now();
  #state: WorkerState = 'starting';
  #spec: ProcessSpec;
  /** What the worker was started as, while it is a shared spare that has not learned its options. */
  #unbound: ProcessSpec | undefined;
  /** The session that the worker serves; a new worker has none yet. */
  sessionId: string | undefined;
  /** When the worker last became idle or warm, by performance.now(). */
  idleSince = performance.now();
  /** Turns that the worker has served. */
  turns = 0;
  /** The reasons for which a busy worker is recycled after its turn. */
  readonly #marks = new Set<RecycleReason>();
  /** Why the pool has ended the worker; undefined if the worker lives or has ended by itself. */
  recycledFor: RecycleReason | undefined;
  /** Resolves when the process, and all processes that it started, have ended. */
  gone: Promise<void> = Promise.resolve();

  constructor(name: string, process: ClaudeProcess, spec: ProcessSpec) {
    this.name = name;
    this.process = process;
    this.#spec = spec;
    if (spec.shared) this.#unbound = spec;
    this.sessionId = spec.sessionId;
  }

  /** What the worker is: a shared spare becomes what its prompt needs. */
  get spec(): ProcessSpec {
    return this.#spec;
  }

  /** Whether the worker is a shared spare that has not learned its options. */
  get isUnbound(): boolean {
    return this.#unbound !== undefined;
  }

  /** The worker gets a prompt that needs a process of this kind; `bind` must follow before the turn. */
  serve(spec: ProcessSpec): void {
    if (this.#unbound) this.#spec = spec;
  }

  /**
   * Gives a shared spare the options of its prompt; no other worker needs that.
   * @throws BerthError `cli_unavailable` if the process does not accept them: it must not get the prompt
   */
  async bind(): Promise<void> {
    if (!this.#unbound) return;
    this.#unbound = undefined;
    await this.#spec.spare?.bind(this.process);
  }

  /** Whether the worker works without a prompt: then it is not ended to free memory or a place. */
  get works(): boolean {
    return this.process.works && this.#mayWork;
  }

  /** Whether a report of its work in the background is to come soon, or is being written. */
  get reports(): boolean {
    return this.process.reporting && this.#mayWork;
  }

  /** Whether it serves no other prompt: a process with a budget of its own serves one. */
  get spent(): boolean {
    return this.spec.once && this.turns > 0;
  }

  get #mayWork(): boolean {
    const { background = 0 } = this.spec;
    return performance.now() - this.idleSince < background;
  }

  /**
   * Why a busy worker is recycled after its turn; undefined if it is not. An end for memory is the fastest, so
   * that reason has priority.
   */
  get recycleAfterTurn(): RecycleReason | undefined {
    return this.#marks.has('memory') ? 'memory' : this.#marks.values().next().value;
  }

  /** Adds a reason to recycle a busy worker after its turn. */
  mark(reason: RecycleReason): void {
    this.#marks.add(reason);
  }

  unmark(reason: RecycleReason): void {
    this.#marks.delete(reason);
  }

  get state(): WorkerState {
    return this.#state;
  }

  /** @throws BerthError `internal` if the table above does not allow it */
  become(state: WorkerState): void {
    const allowed: readonly WorkerState[] = transitions[this.#state];
    if (!allowed.includes(state)) {
      throw new BerthError(
        'internal',
        `cannot make ${this.name} ${state}: it is ${this.#state}; this is a bug in berth, please report it`,
      );
    }
    this.#state = state;
    if (state === 'warm' && this.#unbound) this.#spec = this.#unbound;
    if (state === 'idle' || state === 'warm') this.idleSince = performance.now();
    if (state === 'busy') this.turns += 1;
  }
}
