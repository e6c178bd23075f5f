/**
 * The readings and the bounds behind a decision of the memory guard. All sizes in bytes, rates a
 * second.
 */
import type { Amount } from '../../shared/setting-types.ts';
import type { ContainerMemory } from './cgroup.ts';

/** `fresh`: serves no session yet; `leaving`: is being ended. */
export type Stage = 'fresh' | 'idle' | 'busy' | 'leaving';

export interface WorkerReading {
  name: string;
  stage: Stage;
  /** The whole process tree. */
  bytes: number;
  /** Undefined while the rate is unknown. */
  growth: number | undefined;
  processes: number;
  /** False while the worker grows because it starts. */
  warmedUp: boolean;
  /** The hard bound of the profile, instead of the general bound. */
  limit?: number | undefined;
}

export interface ContainerReading extends ContainerMemory {
  /** Undefined while the rate is unknown. */
  growth: number | undefined;
  /** The rate since the container is above its soft bound: one big step up is not yet a leak. */
  growthAboveSoft: number | undefined;
}

export interface Reading {
  /** Milliseconds of a clock that never jumps. */
  now: number;
  /** Undefined without a memory cgroup. */
  container: ContainerReading | undefined;
  workers: readonly WorkerReading[];
}

/** Infinite for a bound that does not exist. */
export interface Bounds {
  soft: number;
  hard: number;
  workerSoft: number;
  workerHard: number;
  /** Processes of one worker. */
  workerProcesses: number;
}

export interface BoundSettings {
  containerSoft: Amount;
  containerHard: Amount;
  workerSoft: Amount;
  workerHard: Amount;
}

/** A worker with this many processes is a fork bomb. */
const mostOfOneWorker = 2_000;

/**
 * The highest share of the limit for the container's bounds: at the limit itself the kernel acts
 * first.
 */
export const highestShare = 0.95;

/**
 * The bounds for a limit. A share without a limit is no bound. A soft bound is never above its hard
 * bound, and neither bound of the container is too near to its limit to be useful.
 */
export function boundsOf(settings: BoundSettings, limit: number | undefined): Bounds {
  const highest = limit === undefined ? Number.POSITIVE_INFINITY : limit * highestShare;
  const hard = Math.min(highest, bytesOf(settings.containerHard, limit));
  const workerHard = bytesOf(settings.workerHard, limit);
  return {
    soft: Math.min(hard, bytesOf(settings.containerSoft, limit)),
    hard,
    workerSoft: Math.min(workerHard, bytesOf(settings.workerSoft, limit)),
    workerHard,
    workerProcesses: mostOfOneWorker,
  };
}

/** For a worker with its own limit: the soft bound is this share of it, as in the defaults. */
const softShare = 2 / 3;

/** The bounds that apply to one worker. */
export function boundsOfWorker(
  { limit }: Pick<WorkerReading, 'limit'>,
  { workerSoft, workerHard }: Bounds,
): { soft: number; hard: number } {
  if (limit === undefined) return { soft: workerSoft, hard: workerHard };
  return { soft: limit * softShare, hard: limit };
}

function bytesOf(amount: Amount, limit: number | undefined): number {
  if ('bytes' in amount) return amount.bytes;
  return limit === undefined ? Number.POSITIVE_INFINITY : amount.share * limit;
}

/** Milliseconds in which a process grows because it starts. */
const warmUp = 5_000;
/**
 * The maximum number of bytes that a process takes for its start. A process with more is not only
 * starting.
 */
const mostOfStart = 384 * 2 ** 20;

/**
 * Whether a worker grows for another reason than its start; growth during the start does not count.
 * Decided by the largest process: a start with MCP servers is many small processes, whose sum
 * counts shared memory many times.
 * @param age milliseconds
 * @param largest resident bytes of the largest process
 */
export function hasWarmedUp(age: number, largest: number): boolean {
  return age >= warmUp || largest > mostOfStart;
}
