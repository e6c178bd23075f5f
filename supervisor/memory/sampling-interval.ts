/**
 * How soon to look again: the less memory is left, the sooner. Between two looks, which read every
 * process, there are glances, which read one file: is the container above its next bound?
 */
import type { State } from './policy.ts';
import type { Level } from './pressure.ts';
import { type Bounds, boundsOfWorker, type Reading } from './reading.ts';

/** Milliseconds. */
const soonest = 250;
const latest = 2_000;
/** Bytes a second that a leak may begin with: what is left must not be gone by the next look. */
const feared = 400 * 2 ** 20;

const glance = { soonest: 100, feared: 2 ** 30 };

/** How soon to glance: what is left to the next bound must not be gone by then. */
export function untilNextGlance({ container }: Reading, bounds: Bounds, level: Level): number {
  if (!container) return latest;
  const left = timeFor(nextBound(bounds, level) - container.workingSet, glance.feared);
  return Math.round(Math.max(glance.soonest, Math.min(latest, left)));
}

/** What the container is not above yet; infinite if there is none. */
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

/** Milliseconds until so many bytes are used up. */
function timeFor(bytes: number, rate: number): number {
  return rate > 0 ? (Math.max(0, bytes) / rate) * 1_000 : Number.POSITIVE_INFINITY;
}
