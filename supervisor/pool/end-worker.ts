/** Ends a worker: logs it, gives the process time to end by itself, and leaves nothing of it. */
import type { Log } from '../../shared/log.ts';
import { within } from '../../shared/waiting.ts';
import type { BackgroundTask } from '../claude/background.ts';
import type { RecycleReason, Worker } from './worker.ts';

export interface EndOptions {
  log: Log;
  onRecycle?: (reason: RecycleReason) => void;
  /** Called when work in the background ends with its process. */
  onWorkLost?: (lost: LostWork) => void;
  /** Waits until that CLI is not refreshing its login, which an end would lose; never rejects. */
  beforeEnd?: (pid: number | undefined) => Promise<void>;
}

/** Why the pool stops. */
export type StopReason = Extract<RecycleReason, 'stopping' | 'lease_lost'>;

/** Work in the background of a session, and why its process ended. */
export interface LostWork {
  sessionId: string;
  tasks: readonly BackgroundTask[];
  reason: RecycleReason;
}

export function lostWork(worker: Worker, reason: RecycleReason): LostWork | undefined {
  const { sessionId, process } = worker;
  const tasks = process.background;
  return sessionId === undefined || tasks.length === 0 ? undefined : { sessionId, tasks, reason };
}

/** For these reasons there is no hurry: the SessionEnd hooks get all their time. */
const unhurried = new Set<RecycleReason>(['idle', 'place', 'renewed', 'removed']);

/** Milliseconds for SessionEnd hooks while the server stops, after the drain. */
const whileStopping = 8_000;

/**
 * Resolves when the process, and all processes that it started, have ended.
 * @param grace milliseconds for each step, after which what does not end by itself is killed
 */
export async function endWorker(
  worker: Worker,
  reason: RecycleReason,
  grace: number,
  { log, onRecycle, onWorkLost, beforeEnd }: EndOptions,
): Promise<void> {
  worker.become('recycling');
  worker.recycledFor = reason;
  log.info('worker_recycled', `recycling ${worker.name}: ${reason}`, {
    worker: worker.name,
    reason,
    profile: worker.spec.profile,
    session_id: worker.sessionId,
    age_ms: Math.round(performance.now() - worker.startedAt),
  });
  onRecycle?.(reason);
  const lost = lostWork(worker, reason);
  if (lost) onWorkLost?.(lost);
  if (reason !== 'lease_lost') await beforeEnd?.(worker.process.pid);
  await worker.process.stop(grace, hookTime(worker, reason));
  await worker.gone;
}

/**
 * Bounds the end of a worker that was being ended already when the pool stops. Resolves like `endWorker`.
 * @param grace milliseconds between SIGTERM and SIGKILL
 */
export async function hastenEnd(worker: Worker, reason: StopReason, grace: number): Promise<void> {
  if (reason === 'stopping') await within(worker.gone, whileStopping);
  if (worker.process.alive) await worker.process.terminate(grace);
  await worker.gone;
}

/** No time for a worker that is ended because of its memory or a lost lease, or that hangs. */
function hookTime({ process: { sessionEnd } }: Worker, reason: RecycleReason): number {
  if (unhurried.has(reason)) return sessionEnd;
  return reason === 'stopping' ? Math.min(whileStopping, sessionEnd) : 0;
}
