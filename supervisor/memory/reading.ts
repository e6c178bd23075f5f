/** What the guard knows when it decides, and by which bounds. All sizes in bytes, rates a second. */
import type { Amount } from '../../shared/setting-types.ts';
import type { ContainerMemory } from './cgroup.ts';

/** `fresh` serves nobody yet; `leaving` is being ended. */
export type Stage = 'fresh' | 'idle' | 'busy' | 'leaving';

export interface WorkerReading {
  name: string;
  stage: Stage;
  /** Its whole tree. */
  bytes: number;
  /** Undefined while that cannot be told. */
  growth: number | undefined;
  processes: number;
  /** False while it grows because it starts. */
  warmedUp: boolean;
  /** The hard bound that its profile gives it, in the place of the one for all. */
  limit?: number | undefined;
}

export interface ContainerReading extends ContainerMemory {
  /** Undefined while that cannot be told. */
  growth: number | undefined;
  /** The same since it is above its soft bound: one big step up is not yet a leak. */
  growthAboveSoft: number | undefined;
}

export interface Reading {
  /** Milliseconds of a clock that never jumps. */
  now: number;
  /** Undefined without a memory cgroup. */
  container: ContainerReading | undefined;
  workers: readonly WorkerReading[];
}

/** Infinite where there is none. */
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

/** So many processes of one worker are a fork bomb. */
const mostOfOneWorker = 2_000;

/** Of the limit, for the container's bounds: at the limit itself the kernel comes first. */
export const highestShare = 0.95;

/**
 * A share of no limit is no bound. A soft bound is never above its hard one, and neither of the
 * container's too near to its limit to be of use.
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

/** Of a worker that has a limit of its own: soft is the share of it that the defaults are. */
const softShare = 2 / 3;

/** Those that count for one worker. */
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
/** Bytes that one process takes for its start at most; one that has more by then does not only start. */
const mostOfStart = 384 * 2 ** 20;

/**
 * Whether what a worker grows by is more than its start: else its growth counts for nothing. Told by its
 * largest process: a start with MCP servers is many small ones, whose sum has what they share many times.
 * @param age milliseconds
 * @param largest resident bytes of it
 */
export function hasWarmedUp(age: number, largest: number): boolean {
  return age >= warmUp || largest > mostOfStart;
}
