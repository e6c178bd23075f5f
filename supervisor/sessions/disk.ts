/**
 * Watches the free disk space where the CLI writes: warns when it is low, and refuses new sessions
 * when the disk is full, so that existing sessions can continue.
 * Invariants: a file system that cannot be queried is neither low nor full. A change of the level
 * is logged once, and the end of a full disk is reported once. A file system without free inodes
 * counts as full, and so does a directory that has reached its limit.
 */
import { statfs } from 'node:fs/promises';
import { hasReserve, isUsedUp, makeReserve, releaseReserve } from '../../shared/disk-reserve.ts';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Amount } from '../../shared/setting-types.ts';
import { formatSize } from '../../shared/units.ts';
import { DiskUsage } from './disk-usage.ts';

/** The worst level is the last one. */
export const diskLevels = ['ok', 'low', 'full'] as const;
export type DiskLevel = (typeof diskLevels)[number];

export interface DiskReading {
  path: string;
  /** Bytes of the file system, or of the limit if that is less. */
  total: number;
  /** Bytes that may still be written. */
  free: number;
  /** The free share of the inodes; 1 if the file system has no limit of inodes. */
  freeFiles: number;
  level: DiskLevel;
}

export interface DiskWatchOptions {
  /** Each path is checked separately: two paths of one file system are reported twice. */
  paths: readonly string[];
  /** The maximum bytes below a directory, although its file system has more. */
  limits?: ReadonlyMap<string, number>;
  /** Paths of mounts, which are counted separately. */
  mountPoints?: () => Promise<ReadonlySet<string>>;
  /** Free space below which there is a warning. */
  low: Amount;
  /** Free space below which no session starts. */
  full: Amount;
  /** Bytes on the first of the paths that are reserved for berth; 0 for none. */
  reserve?: number;
  /** Milliseconds between checks. */
  interval?: number;
  /** Called at each check that finds too little space. */
  onShortage?: () => void;
  /** Called when the disk was full and has room again. */
  onRoom?: () => void;
  log: Log;
}

interface Limited {
  /** Bytes. */
  limit: number;
  usage: DiskUsage;
}

/** The configured sizes are for usual volumes: on a small volume they are at most this share. */
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
    await this.measure();
    this.#timer = setInterval(() => void this.measure(), this.#options.interval ?? 10_000);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#stopping.abort();
  }

  get readings(): readonly DiskReading[] {
    return this.#readings;
  }

  /** The worst level of all paths. */
  get level(): DiskLevel {
    return worst(this.#readings.map(({ level }) => level));
  }

  /**
   * Checks again first if there was no space, because space may have been freed.
   * @param begins false for an existing session: it continues until the volume is full
   * @throws BerthError `disk_full`
   */
  async assertRoom(begins = true): Promise<void> {
    if (this.level !== 'full') return;
    await this.measure();
    const full = this.#readings.find(({ level }) => level === 'full');
    if (full && (begins || this.#isUsedUp)) throw noRoom(full, begins);
  }

  /**
   * Whether a write may be lost now: there is hardly any space, or was nearly none at the last
   * check.
   */
  get mayLose(): boolean {
    const [first] = this.#options.paths;
    return this.level === 'full' || (first !== undefined && isUsedUp(first));
  }

  /** The reserve was released, and there is no space for a new reserve. */
  get #isUsedUp(): boolean {
    const { paths, reserve = 0 } = this.#options;
    const [first] = this.#readings.filter(({ path }) => path === paths[0]);
    if (!first || hasReserve()) return false;
    return first.free < leastRoom + roomFor(reserve, first.total) || first.freeFiles < 0.002;
  }

  /** Releases the reserve when nothing else is left, and creates it again when there is space. */
  #keepReserve(): void {
    const { paths, reserve = 0 } = this.#options;
    const first = this.#readings.find(({ path }) => path === paths[0]);
    if (!first) return;
    if (isUsedUp(first.path)) releaseReserve();
    else if (first.level !== 'full') makeReserve(roomFor(reserve, first.total));
  }

  /** Takes new readings, unless it is stopped meanwhile; never rejects. */
  async measure(): Promise<void> {
    const { low, full } = this.#options;
    const paths = [...new Set([...this.#options.paths, ...this.#limited.keys()])];
    const readings = await Promise.all(
      paths.map((path) => readDisk(path, low, full, this.#limited.get(path))),
    );
    // The lease may be released by now: nothing is written to the volume any more.
    if (this.#stopping.signal.aborted) return;
    // Read after the wait: another measurement may have changed the level meanwhile.
    const before = this.level;
    this.#readings = readings.filter((reading) => reading !== undefined);
    this.#keepReserve();
    if (this.level !== before) this.#logLevel(this.level);
    if (this.level !== 'ok') this.#options.onShortage?.();
    if (before === 'full' && this.level !== 'full') this.#options.onRoom?.();
  }

  #logLevel(level: DiskLevel): void {
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
        `${left}; enlarge it, free space there or shorten BERTH_SESSION_RETENTION`,
        details,
      );
    } else {
      log.error('disk_full', `${left}: no new session starts until more is free`, details);
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
    // btrfs and other file systems that create inodes on demand report 0.
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

/** Bytes below which no session can be stored. */
const leastRoom = 1024 * 1024;

/** The reserve must not take half of a small volume. */
function roomFor(reserve: number, total: number): number {
  return reserve <= mostOfSmall * total ? reserve : 0;
}

function noRoom({ path, free, freeFiles }: DiskReading, begins: boolean): BerthError {
  const left = freeFiles < 0.005 ? 'hardly any inodes' : `only ${formatSize(free)}`;
  return new BerthError(
    'disk_full',
    begins
      ? `cannot start a session: ${left} are free at ${path}; enlarge it, free space there, remove sessions (DELETE /v1/sessions/{id}) or lower BERTH_DISK_FULL. Existing sessions can continue`
      : `cannot continue the session: ${left} are free at ${path}, so its turn could not be stored; enlarge it, free space there or remove sessions (DELETE /v1/sessions/{id})`,
    { details: { path } },
  );
}
