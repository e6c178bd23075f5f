/** The end of a worker that the pool has decided on: told, gentle for a while, and complete. */
import type { Log } from '../../shared/log.ts';
import type { RecycleReason, Worker } from './worker.ts';

export interface EndOptions {
  log: Log;
  onRecycle?: (reason: RecycleReason) => void;
  /** Waits until that CLI writes nothing that an end would tear; never rejects. */
  beforeEnd?: (pid: number | undefined) => Promise<void>;
}

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
  await worker.process.stop(grace);
  await worker.gone;
}
