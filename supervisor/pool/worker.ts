/**
 * A worker: one warm CLI process and what the pool knows of it.
 * Always holds: it serves one session in its life, and never two turns at once.
 */
import type { ClaudeProcess } from '../claude/process.ts';

/**
 * starting -> warm (has served nobody) or idle (resumed a session) -> busy <-> idle;
 * any of them -> recycling -> gone.
 */
export type WorkerState = 'starting' | 'warm' | 'busy' | 'idle' | 'recycling';

export type RecycleReason =
  | 'memory'
  | 'idle'
  | 'place'
  | 'unresponsive'
  | 'crashed'
  | 'removed'
  | 'stopping';

export class Worker {
  readonly name: string;
  readonly process: ClaudeProcess;
  readonly startedAt = performance.now();
  state: WorkerState = 'starting';
  /** The session it serves; a warm worker has none yet. */
  sessionId: string | undefined;
  /** When it last became idle, by performance.now(). */
  idleSince = performance.now();
  /** Set while it is busy if it is to be recycled when its turn is over. */
  recycleAfterTurn: RecycleReason | undefined;
  /** Resolves when its process and all that it started have ended. */
  gone: Promise<void> = Promise.resolve();

  constructor(name: string, process: ClaudeProcess, sessionId: string | undefined) {
    this.name = name;
    this.process = process;
    this.sessionId = sessionId;
  }
}
