/**
 * Determines when to read next: sooner, the less memory is left. Between two rounds, which read
 * every process, there are cheap checks of one file: is the container above its next bound?
 */
import type { State } from './policy.ts';
import type { Level } from './pressure.ts';
import { type Bounds, boundsOfWorker, type Reading } from './reading.ts';

/** Milliseconds. */
const soonest = 250;
const latest = 2_000;
/** Bytes a second of a sudden leak: the remaining memory must last until the next round. */
const feared = 400 * 2 ** 20;

const glance = { soonest: 100, feared: 2 ** 30 };

/**
 * Milliseconds until the next check of the file: the memory up to the next bound must last until
 * then.
 */
export function untilNextGlance({ container }: Reading, bounds: Bounds, level: Level): number {
  if (!container) return latest;
  const left = timeFor(nextBound(bounds, level) - container.workingSet, glance.feared);
  return Math.round(Math.max(glance.soonest, Math.min(latest, left)));
}

/** The lowest bound above the current level; infinite if there is none. */
export function nextBound({ soft, hard }: Bounds, level: Level): number {
  return { none: soft, soft: hard, hard: Number.POSITIVE_INFINITY }[level];
}

export function untilNextLook(reading: Reading, bounds: Bounds, state: State): number {
  const { container, workers } = reading;
  const urgent =
    state.level !== 'none' ||
    workers.some(
      (worker) => worker.stage === 'leaving' || worker.bytes > boundsOfWorker(worker, bounds).soft,
    );
  if (urgent) return soonest;
  const rooms = workers.map((worker) =>
    timeFor(boundsOfWorker(worker, bounds).hard - worker.bytes, worker.growth ?? 0),
  );
  if (container) {
    const room = bounds.hard - container.workingSet;
    rooms.push(timeFor(room, Math.max(feared, 2 * (container.growth ?? 0))));
  }
  return Math.round(Math.max(soonest, Math.min(latest, ...rooms)));
}

/** Milliseconds until that many bytes are used up. */
function timeFor(bytes: number, rate: number): number {
  return rate > 0 ? (Math.max(0, bytes) / rate) * 1_000 : Number.POSITIVE_INFINITY;
}
