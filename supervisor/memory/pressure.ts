/**
 * Determines whether the container is short of memory, and how many workers it may have meanwhile.
 * Invariants: pressure ends below the bound at which it began. Closed slots are opened again after
 * a calm period, which is longer the sooner the pressure came back.
 */
import type { Bounds, Reading } from './reading.ts';

export type Level = 'none' | 'soft' | 'hard';

export interface PressureState {
  level: Level;
  /** The largest number of workers; undefined if memory does not limit them. */
  ceiling: number | undefined;
  /** When the level was last none, or became none. */
  since: number;
  /** Milliseconds of calm after which the ceiling is removed. */
  calm: number;
}

export type PressureCause = 'container_soft' | 'container_hard' | 'container_predicted';

/** A bound counts as passed until the working set is below this share of it. */
const release = 0.93;
/** Growth counts as hard pressure if the limit is reached within this many milliseconds. */
const foreseen = 10_000;
const calm = { least: 5_000, most: 60_000, forgottenAfter: 300_000 };

export function follow(
  reading: Reading,
  bounds: Bounds,
  before: PressureState,
): { state: PressureState; cause: PressureCause | undefined } {
  const cause = causeIn(reading, bounds, before.level);
  const level = levelOf(cause);
  const { now, workers } = reading;
  if (level === 'none') return { cause, state: relaxed(now, before) };
  const begins = before.level === 'none';
  const soonAgain = now - before.since < calm.forgottenAfter && before.calm > 0;
  const longer = Math.min(calm.most, before.calm * 2);
  return {
    cause,
    state: {
      level,
      // Leaving workers keep their slots: a replacement is not an additional worker.
      ceiling: before.ceiling ?? Math.max(1, workers.length),
      since: before.since,
      calm: begins ? (soonAgain ? longer : calm.least) : before.calm,
    },
  };
}

function relaxed(now: number, before: PressureState): PressureState {
  const since = before.level === 'none' ? before.since : now;
  const over = now - since >= before.calm;
  return {
    level: 'none',
    ceiling: over ? undefined : before.ceiling,
    since,
    calm: now - since >= calm.forgottenAfter ? 0 : before.calm,
  };
}

function causeIn(reading: Reading, bounds: Bounds, level: Level): PressureCause | undefined {
  const { container } = reading;
  if (!container) return undefined;
  const { workingSet } = container;
  if (workingSet > bounds.hard) return 'container_hard';
  if (workingSet > bounds.soft && millisecondsLeft(reading) < foreseen) {
    return 'container_predicted';
  }
  const soft = level === 'none' ? bounds.soft : bounds.soft * release;
  return workingSet > soft ? 'container_soft' : undefined;
}

function levelOf(cause: PressureCause | undefined): Level {
  if (cause === undefined) return 'none';
  return cause === 'container_soft' ? 'soft' : 'hard';
}

/**
 * Milliseconds until the limit is reached. The growth of workers that are starting will not
 * continue.
 */
function millisecondsLeft({ container, workers }: Reading): number {
  if (container?.limit === undefined || container.growthAboveSoft === undefined) {
    return Number.POSITIVE_INFINITY;
  }
  const starting = workers
    .filter(({ warmedUp }) => !warmedUp)
    .reduce((sum, { growth = 0 }) => sum + Math.max(0, growth), 0);
  const rate = container.growthAboveSoft - starting;
  if (rate <= 0) return Number.POSITIVE_INFINITY;
  return ((container.limit - container.workingSet) / rate) * 1_000;
}

/** The least memory of a worker after its start (docs/memory.md). */
const startedWorker = 128 * 2 ** 20;

/**
 * The number of workers that fit below the hard bound. Starting workers do not use all of their
 * memory yet.
 */
export function workersThatFit({ container, workers }: Reading, { hard }: Bounds): number {
  if (!container) return Number.POSITIVE_INFINITY;
  const toCome = workers
    .filter(({ warmedUp, stage }) => !warmedUp && stage !== 'leaving')
    .reduce((sum, { bytes }) => sum + Math.max(0, startedWorker - bytes), 0);
  const room = hard - container.workingSet - toCome;
  return Math.max(1, workers.length + Math.max(0, Math.floor(room / startedWorker)));
}
