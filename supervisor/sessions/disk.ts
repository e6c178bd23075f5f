/**
 * How much room is left where the CLI writes: looked at regularly, warned about when it gets low, and
 * when it is used up no new session begins, so that those which exist can go on.
 * Always holds: a file system that cannot be asked is neither low nor full; a change of the level is
 * logged once. A file system without free inodes is as full as one without free bytes, and so is a
 * directory that has reached its limit.
 */
import { statfs } from 'node:fs/promises';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { hasReserve, isUsedUp, makeReserve, releaseReserve } from '../../shared/reserve.ts';
import type { Amount } from '../../shared/setting-types.ts';
import { formatSize } from '../../shared/units.ts';
import { DiskUsage } from './disk-usage.ts';

export type DiskLevel = 'ok' | 'low' | 'full';

export interface DiskReading {
  path: string;
  /** Bytes of the file system, or of the limit if that is less. */
  total: number;
  /** Bytes that may still be written. */
  free: number;
  /** Share of the inodes that is free; 1 where the file system has no such limit. */
  freeFiles: number;
  level: DiskLevel;
}

export interface DiskWatchOptions {
  /** Looked at by itself: two of one file system are told twice. */
  paths: readonly string[];
  /** Bytes that what is below a directory may take, though its file system has more. */
  limits?: ReadonlyMap<string, number>;
  /** Paths at which something is mounted: it counts for itself. */
  mountPoints?: () => Promise<ReadonlySet<string>>;
  /** Free room below which there is a warning. */
  low: Amount;
  /** Free room below which no session begins. */
  full: Amount;
  /** Bytes that are kept free for berth itself on the first of the paths; 0 for none. */
  reserve?: number;
  /** Milliseconds between looks. */
  interval?: number;
  log: Log;
}

interface Limited {
  /** Bytes. */
  limit: number;
  usage: DiskUsage;
}

/** A size is meant for usual volumes: of a small one it is this share at most. */
const mostOfSmall = 0.1;

export class DiskWatch {
  readonly #options: DiskWatchOptions;
  readonly #limited: ReadonlyMap<string, Limited>;
  readonly #stopping = new AbortController();
  #readings: DiskReading[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(options: DiskWatchOptions) {
    this.#options = options;
    const { limits = new Map(), mountPoints = async () => new Set() } = options;
    const { signal } = this.#stopping;
    this.#limited = new Map(
      [...limits].map(([path, limit]) => {
        return [path, { limit, usage: new DiskUsage({ path, mountPoints, signal }) }];
      }),
    );
  }

  async start(): Promise<void> {
    await this.look();
    this.#timer = setInterval(() => void this.look(), this.#options.interval ?? 10_000);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#stopping.abort();
  }

  get readings(): readonly DiskReading[] {
    return this.#readings;
  }

  /** The worst of all. */
  get level(): DiskLevel {
    return worst(this.#readings.map(({ level }) => level));
  }

  /**
   * Looks again first if there was no room: it may have been made meanwhile.
   * @param begins false for a session that exists: it goes on until the volume is used up
   * @throws BerthError `disk_full`
   */
  async assertRoom(begins = true): Promise<void> {
    if (this.level !== 'full') return;
    await this.look();
    const full = this.#readings.find(({ level }) => level === 'full');
    if (full && (begins || this.#isUsedUp)) throw noRoom(full, begins);
  }

  /** Whether what is written now may be lost: there is hardly any room, or nearly none by the last look. */
  get mayLose(): boolean {
    const [first] = this.#options.paths;
    return this.level === 'full' || (first !== undefined && isUsedUp(first));
  }

  /** The reserve was given up, and there is no room for another one. */
  get #isUsedUp(): boolean {
    const { paths, reserve = 0 } = this.#options;
    const [first] = this.#readings.filter(({ path }) => path === paths[0]);
    if (!first || hasReserve()) return false;
    return first.free < leastRoom + roomFor(reserve, first.total) || first.freeFiles < 0.002;
  }

  /** Gives the reserve up when nothing else is left, and makes it again when there is room. */
  #keepReserve(): void {
    const { paths, reserve = 0 } = this.#options;
    const first = this.#readings.find(({ path }) => path === paths[0]);
    if (!first) return;
    if (isUsedUp(first.path)) releaseReserve();
    else if (first.level !== 'full') makeReserve(roomFor(reserve, first.total));
  }

  /** Takes new readings; never rejects. */
  async look(): Promise<void> {
    const before = this.level;
    const { low, full } = this.#options;
    const paths = [...new Set([...this.#options.paths, ...this.#limited.keys()])];
    const readings = await Promise.all(
      paths.map((path) => readDisk(path, low, full, this.#limited.get(path))),
    );
    this.#readings = readings.filter((reading) => reading !== undefined);
    this.#keepReserve();
    if (this.level !== before) this.#tell(this.level);
  }

  #tell(level: DiskLevel): void {
    const { log } = this.#options;
    const worstReading = this.#readings.find((reading) => reading.level === level);
    if (!worstReading) return;
    const { path, total, free } = worstReading;
    const details = { path, total, free };
    const left = `${formatSize(free)} of ${formatSize(total)} are free at ${path}`;
    if (level === 'ok') log.info('disk_recovered', left, details);
    else if (level === 'low') {
      log.warn(
        'disk_low',
        `${left}; enlarge it, make room there or shorten BERTH_SESSION_RETENTION`,
        details,
      );
    } else {
      log.error('disk_full', `${left}: no session begins until there is more`, details);
    }
  }
}

async function readDisk(
  path: string,
  low: Amount,
  full: Amount,
  limited?: Limited,
): Promise<DiskReading | undefined> {
  try {
    const { bsize, blocks, bavail, files, ffree } = await statfs(path);
    const { limit = Number.POSITIVE_INFINITY, usage } = limited ?? {};
    const total = Math.min(blocks * bsize, limit);
    const used = (await usage?.bytes()) ?? 0;
    const free = Math.min(bavail * bsize, Math.max(0, limit - used));
    // btrfs, and others that make inodes as they need them, say 0.
    const freeFiles = files > 0 ? ffree / files : 1;
    const below = (amount: Amount, share: number): boolean =>
      free < bytesOf(amount, total) || freeFiles < share;
    const level = below(full, 0.005) ? 'full' : below(low, 0.05) ? 'low' : 'ok';
    return { path, total, free, freeFiles, level };
  } catch {
    return undefined;
  }
}

function bytesOf(amount: Amount, total: number): number {
  return 'share' in amount ? amount.share * total : Math.min(amount.bytes, mostOfSmall * total);
}

function worst(levels: readonly DiskLevel[]): DiskLevel {
  return levels.includes('full') ? 'full' : levels.includes('low') ? 'low' : 'ok';
}

/** Bytes below which nothing of a session can be kept. */
const leastRoom = 1024 * 1024;

/** A small volume is not halved for it. */
function roomFor(reserve: number, total: number): number {
  return reserve <= mostOfSmall * total ? reserve : 0;
}

function noRoom({ path, free, freeFiles }: DiskReading, begins: boolean): BerthError {
  const left = freeFiles < 0.005 ? 'hardly any inodes' : `only ${formatSize(free)}`;
  return new BerthError(
    'disk_full',
    begins
      ? `cannot begin a session: ${left} are free at ${path}; enlarge it, make room there, remove sessions (DELETE /v1/sessions/{id}) or lower BERTH_DISK_FULL. Sessions that exist can go on`
      : `cannot go on with the session: ${left} are free at ${path}, so its turn could not be kept; enlarge it, make room there or remove sessions (DELETE /v1/sessions/{id})`,
    { details: { path } },
  );
}
