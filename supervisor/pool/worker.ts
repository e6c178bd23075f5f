/**
 * A worker: one warm CLI process and what the pool knows of it.
 * Always holds: it serves one session at a time, never two turns at once, and its state changes only
 * along the table below.
 */
import { BerthError } from '../../shared/errors.ts';
import type { ClaudeProcess } from '../claude/process.ts';
import type { Order } from './process-spec.ts';

/** Which states may follow which. A worker is forgotten after `recycling`. */
export const transitions = {
  /** Its process does not answer yet. */
  starting: ['warm', 'idle', 'recycling'],
  /** It serves no session, and nobody. */
  warm: ['busy', 'recycling'],
  /** A turn runs. */
  busy: ['idle', 'warm', 'recycling'],
  /** It keeps its session and waits for its next prompt. */
  idle: ['busy', 'recycling'],
  /** It is being ended. */
  recycling: [],
} as const satisfies Record<string, readonly string[]>;

export type WorkerState = keyof typeof transitions;

export const workerStates = Object.keys(transitions) as WorkerState[];

export const recycleReasons = [
  /** It, or the container, has grown too large. */
  'memory',
  /** It has too many processes. */
  'processes',
  'idle',
  'place',
  /** Its flags are not those that are wanted now. */
  'renewed',
  'unresponsive',
  'crashed',
  /** It may have read settings that a tool had changed. */
  'configuration',
  /** Its session was removed. */
  'removed',
  /** It worked without a prompt while nothing may run. */
  'unprompted',
  'stopping',
] as const;

export type RecycleReason = (typeof recycleReasons)[number];

export class Worker {
  readonly name: string;
  readonly order: Order;
  readonly process: ClaudeProcess;
  readonly startedAt = performance.now();
  #state: WorkerState = 'starting';
  /** The session it serves; a fresh worker has none yet. */
  sessionId: string | undefined;
  /** When it last became idle, by performance.now(). */
  idleSince = performance.now();
  /** Turns that it has served. */
  turns = 0;
  /** Set while it is busy if it is to be recycled when its turn is over. */
  recycleAfterTurn: RecycleReason | undefined;
  /** Why it was ended by the pool; undefined if it was not, or ended by itself. */
  recycledFor: RecycleReason | undefined;
  /** Resolves when its process and all that it started have ended. */
  gone: Promise<void> = Promise.resolve();

  constructor(name: string, process: ClaudeProcess, order: Order) {
    this.name = name;
    this.process = process;
    this.order = order;
    this.sessionId = order.sessionId;
  }

  /** True while it works without a prompt: it is not to be ended to save memory or to give place. */
  get works(): boolean {
    const { background = 0 } = this.order;
    return this.process.works && performance.now() - this.idleSince < background;
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
    if (state === 'idle' || state === 'warm') this.idleSince = performance.now();
    if (state === 'busy') this.turns += 1;
  }
}
