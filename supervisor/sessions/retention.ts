/**
 * Keeps the volume from filling up: removes sessions that were unused for long, then the least
 * recently used sessions above the disk budget, and the leftovers of the CLI.
 * Invariants: a session with a process, a waiting prompt or an unfinished job is never removed. While the jobs cannot be
 * read, no session is removed, unless the volume is full. A round does a bounded amount of work and ends soon after the
 * signal. A session that cannot be removed does not block others.
 */

import { ClockTrust } from '../../shared/clock-trust.ts';
import { messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { sizeOfTree } from '../../shared/remove-tree.ts';
import { SerialQueue } from '../../shared/serial-queue.ts';
import type { SessionCatalog } from './catalog.ts';
import { removeLeftovers } from './cli-leftovers.ts';
import type { SessionRecord } from './session-record.ts';
import { compareUse, type SessionStore } from './session-store.ts';
import type { Transcripts } from './transcripts.ts';
import type { Workspaces } from './workspaces.ts';

/** Why a session is removed without a request of its owner. */
export const removalReasons = ['retention', 'budget'] as const;

export type RemovalReason = (typeof removalReasons)[number];

export interface RetentionOptions {
  /** Milliseconds without use after which a session is removed; 0 keeps sessions for ever. */
  retention: number;
  /** The maximum bytes of transcripts and own directories; undefined: unlimited. */
  budget: number | undefined;
  store: SessionStore;
  catalog: SessionCatalog;
  transcripts: Transcripts;
  workspaces: Workspaces;
  configDirectory: string;
  temporaryDirectory: string;
  log: Log;
  /** Milliseconds since 1970. */
  now?: () => number;
  /** Milliseconds of a monotonic clock. */
  elapsed?: () => number;
  onRemoved?: (reason: RemovalReason) => void;
  /** The ids, in lower case, of sessions that accepted jobs are to continue; absent: none. */
  wanted?: (signal: AbortSignal) => Promise<ReadonlySet<string>>;
  /** Whether the volume is full: then the jobs may be unreadable for that reason, and a round must make space. */
  isFull?: () => boolean;
}

export interface Round {
  expired: number;
  overBudget: number;
  leftovers: number;
  failed: number;
  /** Bytes of transcripts and own directories after the round; undefined without a budget. */
  bytes: number | undefined;
}

const hour = 3_600_000;
const day = 24 * hour;
const mostInRound = 2_000;

/**
 * The CLI removes transcripts by their age in days. The CLI must not be faster than berth, and
 * removes transcripts that berth does not know; therefore one day more. The CLI has no value for
 * "never".
 */
export function cleanupPeriodDays(retention: number): number {
  return retention === 0 ? 36_500 : Math.ceil(retention / day) + 1;
}

export class Retention {
  readonly #options: RetentionOptions;
  readonly #over = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  readonly #clock: ClockTrust;
  readonly #rounds = new SerialQueue();
  /** As known last. */
  #wanted: ReadonlySet<string> = new Set();

  constructor(options: RetentionOptions) {
    this.#options = options;
    const { now, elapsed, log } = options;
    const onStep = (step: number): void => {
      const text = 'the clock was changed: for a day nothing is removed because of its age';
      log.warn('retention_failed', text, { step_ms: step });
    };
    this.#clock = new ClockTrust({ now, elapsed, onStep });
  }

  /** Runs a round now, in the background, and one each hour. */
  start(): void {
    const next = (): void => void this.#rounds.add(() => this.#attempt());
    next();
    this.#timer = setInterval(next, hour);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#over.abort();
    await this.#rounds.idle();
  }

  async #attempt(): Promise<void> {
    if (this.#over.signal.aborted) return;
    try {
      await this.round(this.#over.signal);
    } catch (error) {
      if (this.#over.signal.aborted) return;
      this.#options.log.error('retention_failed', 'cannot remove old sessions', { error });
    }
  }

  /** @throws the signal's reason */
  async round(signal: AbortSignal): Promise<Round> {
    const { log, transcripts, now = Date.now, isFull = () => false } = this.#options;
    const started = now();
    const round: Round = { expired: 0, overBudget: 0, leftovers: 0, failed: 0, bytes: undefined };
    const trusted = this.#clock.check();
    const mayRemove = (await this.#findWanted(signal)) || isFull();
    const rest = mayRemove ? await this.#expire(trusted ? started : 0, round, signal) : [];
    const { bytes, failure } = await transcripts.sizes(signal);
    if (failure !== undefined) {
      const text = 'cannot read all transcripts: the files that the CLI keeps by session stay';
      log.warn('retention_failed', text, { error: failure });
    }
    if (mayRemove) await this.#keepToBudget(rest, bytes, round, signal);
    const { configDirectory, temporaryDirectory } = this.#options;
    round.leftovers = await removeLeftovers({
      configDirectory,
      temporaryDirectory,
      // A session whose transcript cannot be read may continue.
      hasTranscript: (id) => failure !== undefined || bytes.has(id),
      now: trusted ? started : 0,
      signal,
    });
    const { expired, overBudget, leftovers, failed } = round;
    const level = expired + overBudget + leftovers + failed > 0 ? 'info' : 'debug';
    log[level]('retention_round', `removed ${expired + overBudget} sessions`, {
      expired,
      over_budget: overBudget,
      leftovers,
      failed,
      bytes: round.bytes,
      duration_ms: now() - started,
    });
    return round;
  }

  /** @returns whether the jobs could be read */
  async #findWanted(signal: AbortSignal): Promise<boolean> {
    const { wanted, log } = this.#options;
    try {
      this.#wanted = (await wanted?.(signal)) ?? this.#wanted;
      return true;
    } catch (error) {
      signal.throwIfAborted();
      log.warn('retention_failed', 'cannot read which sessions jobs wait for', { error });
      return false;
    }
  }

  /**
   * @param now 0 if unknown: then nothing is old
   * @returns the remaining sessions, most recently used first
   */
  async #expire(now: number, round: Round, signal: AbortSignal): Promise<SessionRecord[]> {
    const { store, retention } = this.#options;
    const rest: SessionRecord[] = [];
    for await (const record of store.all()) {
      signal.throwIfAborted();
      const idle = now - Date.parse(record.last_used_at);
      const isOver = retention > 0 && idle > retention && round.expired < mostInRound;
      if (isOver && (await this.#remove(record, 'retention', round))) round.expired += 1;
      else rest.push(record);
    }
    return rest.sort(compareUse);
  }

  async #keepToBudget(
    rest: SessionRecord[],
    sizes: ReadonlyMap<string, number>,
    round: Round,
    signal: AbortSignal,
  ): Promise<void> {
    const { budget, workspaces } = this.#options;
    if (budget === undefined) return;
    const taken = new Map<SessionRecord, number>();
    for (const record of rest) {
      const { mode } = record.working_directory;
      const own = mode === 'session' ? workspaces.pathOf(record.working_directory) : undefined;
      const files = own === undefined ? 0 : await sizeOfTree(own, signal);
      taken.set(record, files + (sizes.get(record.id.toLowerCase()) ?? 0));
    }
    round.bytes = [...taken.values()].reduce((sum, bytes) => sum + bytes, 0);
    for (const record of rest.reverse()) {
      signal.throwIfAborted();
      if (round.bytes <= budget || round.overBudget >= mostInRound) return;
      if (!(await this.#remove(record, 'budget', round))) continue;
      round.overBudget += 1;
      round.bytes -= taken.get(record) ?? 0;
    }
  }

  /** @returns whether the session is removed */
  async #remove(record: SessionRecord, reason: RemovalReason, round: Round): Promise<boolean> {
    const { catalog, store, log, onRemoved } = this.#options;
    // The session may have been used since it was read.
    const current = store.peek(record.id) ?? record;
    if (current.last_used_at !== record.last_used_at) return false;
    if (catalog.stateOf(record) !== 'stored') return false;
    if (this.#wanted.has(record.id.toLowerCase())) return false;
    try {
      await catalog.remove(record, reason);
      onRemoved?.(reason);
      return true;
    } catch (error) {
      round.failed += 1;
      log.warn('retention_failed', `cannot remove a session: ${messageOf(error)}`, {
        session_id: record.id,
      });
      return false;
    }
  }
}
