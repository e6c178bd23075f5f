/**
 * The memory guard: looks at the container and at each worker's process tree every second or two and
 * has workers recycled that are above their limit, or the largest idle one when the container is.
 * Always holds: it decides from readings alone and reaches the pool through one function.
 */
import type { Log } from '../../shared/log.ts';
import type { Amount } from '../../shared/setting-types.ts';
import { formatSize } from '../../shared/units.ts';
import { type ContainerMemory, readContainerMemory } from './cgroup.ts';
import { treeMemory } from './process-tree.ts';

export interface GuardedWorker {
  name: string;
  pid: number;
  /** True if it keeps a session and serves nobody at the moment. */
  idle: boolean;
  /** False for one that has served nobody: a new one in its place would be as large. */
  served: boolean;
}

export interface GuardOptions {
  /** The container's limit for `BERTH_MEMORY_SOFT`. */
  containerSoft: Amount;
  workerSoft: Amount;
  workers: () => readonly GuardedWorker[];
  /** Recycles the named worker now if it is idle, else when its turn is over. */
  recycle: (name: string) => void;
  log: Log;
  /** Where the container's cgroup is mounted. */
  cgroupRoot?: string;
  /** Milliseconds between two looks. */
  interval?: number;
}

export interface MemoryReadings {
  container: ContainerMemory | undefined;
  /** Bytes of each worker's tree, by its name. */
  workers: ReadonlyMap<string, number>;
}

export class MemoryGuard {
  readonly #options: GuardOptions;
  readonly #recycling = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #busy = false;
  #looking: Promise<void> = Promise.resolve();
  #readings: MemoryReadings = { container: undefined, workers: new Map() };

  constructor(options: GuardOptions) {
    this.#options = options;
  }

  get readings(): MemoryReadings {
    return this.#readings;
  }

  async start(): Promise<void> {
    await this.look();
    const { container } = this.#readings;
    if (container?.limit === undefined) {
      this.#options.log.info(
        'memory_unreadable',
        'the container has no memory limit: shares of it do not apply; set resources.limits.memory',
      );
    }
    this.#timer = setInterval(() => {
      if (this.#busy) return;
      this.#busy = true;
      this.#looking = this.look().finally(() => {
        this.#busy = false;
      });
    }, this.#options.interval ?? 1_000);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  /** One round: read everything, then recycle what is above its limit. */
  async look(): Promise<void> {
    const { workers, cgroupRoot = '/sys/fs/cgroup' } = this.#options;
    const present = workers();
    const [container, sizes] = await Promise.all([
      readContainerMemory(cgroupRoot),
      Promise.all(present.map(async ({ name, pid }) => [name, await treeMemory(pid)] as const)),
    ]);
    this.#readings = { container, workers: new Map(sizes) };
    const names = new Set(present.map(({ name }) => name));
    for (const name of this.#recycling) if (!names.has(name)) this.#recycling.delete(name);
    for (const name of tooLarge(present, this.#readings, this.#options)) this.#recycle(name);
  }

  #recycle(name: string): void {
    if (this.#recycling.has(name)) return;
    this.#recycling.add(name);
    const size = this.#readings.workers.get(name) ?? 0;
    const { container } = this.#readings;
    this.#options.log.warn('memory_limit', `${name} has grown to ${formatSize(size)}`, {
      worker: name,
      worker_bytes: size,
      working_set_bytes: container?.workingSet,
      limit_bytes: container?.limit,
    });
    this.#options.recycle(name);
  }
}

/**
 * The workers to recycle: each above its own limit, and, if the container is above its and none of
 * those is idle, the largest idle one (one a round, so that the next look sees the effect).
 */
export function tooLarge(
  workers: readonly GuardedWorker[],
  { container, workers: sizes }: MemoryReadings,
  { containerSoft, workerSoft }: Pick<GuardOptions, 'containerSoft' | 'workerSoft'>,
): string[] {
  const sizeOf = ({ name }: GuardedWorker): number => sizes.get(name) ?? 0;
  const workerLimit = bytesOf(workerSoft, container?.limit);
  const above = workers.filter((worker) => worker.served && sizeOf(worker) > workerLimit);
  const names = above.map(({ name }) => name);
  const full = container && container.workingSet > bytesOf(containerSoft, container.limit);
  // A busy one goes when its turn is over; until then somebody else has to make room.
  if (!full || above.some(({ idle }) => idle)) return names;
  const [largest] = workers.filter(({ idle }) => idle).sort((a, b) => sizeOf(b) - sizeOf(a));
  return largest ? [...names, largest.name] : names;
}

/** A share of no limit is no bound. */
function bytesOf(amount: Amount, limit: number | undefined): number {
  if ('bytes' in amount) return amount.bytes;
  return limit === undefined ? Number.POSITIVE_INFINITY : amount.share * limit;
}
