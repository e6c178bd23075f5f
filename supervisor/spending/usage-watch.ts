/**
 * Queries periodically how much of its usage windows the common login has used, so that the share of its owner holds
 * also when the owner uses the account elsewhere.
 * Invariants: one query at a time, at most one in ten minutes, and none while the figures are newer than that. After a
 * query without an answer, the pause doubles up to two hours. No query is sent while no profile has a share. An answer
 * about an account that was replaced meanwhile is dropped, and the new account is queried soon.
 */
import { backoff } from '../../shared/backoff.ts';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { type UsageWindows, usageWindowNames, type WindowReports } from './usage-windows.ts';

export interface UsageWatchOptions {
  windows: UsageWindows;
  /** The key of the login. */
  login: string;
  /** Whether the figures are needed, and the login can be used, and no turn would be slowed down. */
  wanted: () => boolean;
  /** The windows by name; undefined if there are none. Rejects if the query was not answered. */
  query: (
    signal: AbortSignal,
  ) => Promise<Record<string, { utilization: number; resetsAt?: number | undefined }> | undefined>;
  /** Aborted when the login is replaced by that of another account. */
  replacementSignal: () => AbortSignal;
  log: Log;
  /** Milliseconds since 1970. */
  now?: () => number;
}

const minute = 60_000;
/** Milliseconds between two checks whether a query is due: background jobs wait for the first figures after a start. */
const betweenChecks = 10_000;
const pause = 10 * minute;
/** Between two queries: the first value after an answer, then longer with each query without an answer. */
const pauses = { first: pause, longest: 120 * minute };

export class UsageWatch {
  readonly #options: UsageWatchOptions;
  readonly #now: () => number;
  readonly #ending = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #querying: Promise<void> | undefined;
  #queriedAt = Number.NEGATIVE_INFINITY;
  #unanswered = 0;

  constructor(options: UsageWatchOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  start(): void {
    this.#timer = setInterval(() => void this.check(), betweenChecks).unref();
  }

  /** Sends a query if one is due; never rejects. */
  check(): Promise<void> {
    this.#querying ??= this.#query().finally(() => {
      this.#querying = undefined;
    });
    return this.#querying;
  }

  /** Ends an open query; resolves when it has ended. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#ending.abort();
    await this.#querying;
  }

  async #query(): Promise<void> {
    const { windows, login, wanted, query, replacementSignal, log } = this.#options;
    const now = this.#now();
    const wait = backoff(this.#unanswered + 1, pauses);
    // After the clock was set back, the next query is not far away.
    const since = now - this.#queriedAt;
    if (since >= 0 && since < wait) return;
    const heardAt = windows.heardAt(login);
    if (heardAt !== undefined && heardAt <= now && now - heardAt < pause) return;
    if (this.#ending.signal.aborted || !wanted()) return;
    this.#queriedAt = now;
    const replaced = replacementSignal();
    try {
      const found = await query(this.#ending.signal);
      if (replaced.aborted) {
        this.#queriedAt = Number.NEGATIVE_INFINITY;
        return;
      }
      this.#unanswered = found ? 0 : this.#unanswered + 1;
      if (found) windows.heard(login, reportsOf(found));
    } catch (error) {
      this.#unanswered += 1;
      const { code } = error instanceof BerthError ? error : { code: undefined };
      log.debug('usage_unknown', 'the use of the account could not be read', { code, error });
    }
  }
}

function reportsOf(
  found: Record<string, { utilization: number; resetsAt?: number | undefined }>,
): WindowReports {
  const reports: WindowReports = {};
  for (const name of usageWindowNames) {
    const window = found[name];
    if (window) reports[name] = { used: window.utilization, resetsAt: window.resetsAt };
  }
  return reports;
}
