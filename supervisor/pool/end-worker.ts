/** The end of a worker that the pool has decided on: told, gentle for a while, and complete. */
import type { Log } from '../../shared/log.ts';
import type { RecycleReason, Worker } from './worker.ts';

export interface EndOptions {
  log: Log;
  onRecycle?: (reason: RecycleReason) => void;
  /** Waits until that CLI writes nothing that an end would tear; never rejects. */
  beforeEnd?: (pid: number | undefined) => Promise<void>;
}

/** Those of a worker that is needed no more, and whose SessionEnd hooks have all their time. */
const unhurried = new Set<RecycleReason>(['idle', 'place', 'renewed', 'removed']);

/** Milliseconds for SessionEnd hooks while the server stops: the drain is over by then. */
const whileStopping = 8_000;

/**
 * Resolves when nothing of it is left.
 * @param grace milliseconds for each step, after which what does not end by itself is killed
 */
export async function endWorker(
  worker: Worker,
  reason: RecycleReason,
  grace: number,
  { log, onRecycle, beforeEnd }: EndOptions,
): Promise<void> {
  worker.become('recycling');
  worker.recycledFor = reason;
  log.info('worker_recycled', `recycling ${worker.name}: ${reason}`, {
    worker: worker.name,
    reason,
    profile: worker.order.profile,
    session_id: worker.sessionId,
    age_ms: Math.round(performance.now() - worker.startedAt),
  });
  onRecycle?.(reason);
  await beforeEnd?.(worker.process.pid);
  await worker.process.stop(grace, hookTime(worker, reason));
  await worker.gone;
}

/** None for one that has to go for its memory, or that hangs. */
function hookTime({ process: { sessionEnd } }: Worker, reason: RecycleReason): number {
  if (unhurried.has(reason)) return sessionEnd;
  return reason === 'stopping' ? Math.min(whileStopping, sessionEnd) : 0;
}
