/**
 * What the API has reported last about the limits of each login, on any replica with the same account.
 * Invariants: a limit that closes the account is kept until its end, also if another report is newer: a call that was
 * sent before the limit may be answered after it, and the clocks of replicas differ. A report whose end has passed
 * closes nothing: it would close the gate again at each restart of a replica. Reports are removed after eight days.
 */
import type { UsageLimit } from '../claude/usage-limit.ts';
import type { ReplicaState } from '../jobs/redis/replica-states.ts';
import { closesAccount } from '../prompts/limit-account.ts';

type Reports = ReplicaState['limits'];
type Report = Reports[string];

export interface SharedLimitsOptions {
  /** The account of a login, to be compared between replicas; undefined if no other replica has this login. */
  accountOf: (login: string) => string | undefined;
  /** Milliseconds since 1970. */
  now: () => number;
}

const minute = 60_000;
/** Milliseconds for which a report may count: the longest window has seven days. */
const longest = 8 * 24 * 60 * minute;
/** Milliseconds for which a limit or a window without an end counts on another replica. */
const longestWithoutEnd = 5 * minute;

export class SharedLimits {
  readonly #options: SharedLimitsOptions;
  readonly #reports: Reports = {};

  constructor(options: SharedLimitsOptions) {
    this.#options = options;
  }

  /** The reports to publish, by login. */
  get all(): Reports {
    const oldest = this.#options.now() - longest;
    for (const [login, { at }] of Object.entries(this.#reports)) {
      if (at < oldest) delete this.#reports[login];
    }
    return this.#reports;
  }

  /** Notes a report that this replica has heard from the API. */
  note(login: string, limit: UsageLimit): void {
    const at = this.#options.now();
    const account = this.#options.accountOf(login);
    this.#reports[login] = this.#merge(login, { at, limit, account });
  }

  /**
   * Takes over what another replica has published.
   * @returns the report as it counts now; undefined if it brings nothing new, has ended, or is about another account
   */
  adopt(login: string, { at, limit: published, account }: Report): UsageLimit | undefined {
    const now = this.#options.now();
    // Replicas may give the same name to the logins of different accounts.
    if (account === undefined || account !== this.#options.accountOf(login)) return undefined;
    if (at < now - longest) return undefined;
    const limit = bounded(published, at);
    const known = this.#reports[login];
    const isNewer = at > (known?.at ?? 0);
    if (!isNewer && closedUntil(limit) <= Math.max(now, closedUntil(known?.limit)))
      return undefined;
    const report = this.#merge(login, { at, limit, account });
    this.#reports[login] = report;
    return asOf(report, now);
  }

  /** A report with what is known besides; the newer report wins, except over a limit that has not ended. */
  #merge(login: string, report: Report): Report {
    const known = this.#reports[login];
    const bound = { ...report, limit: bounded(report.limit, report.at) };
    if (known?.account !== report.account || known === undefined) return bound;
    const [older, newer] = known.at > report.at ? [bound, known] : [known, bound];
    const end = Math.max(this.#options.now(), closedUntil(newer.limit));
    const deciding = closedUntil(older.limit) > end ? older.limit : newer.limit;
    const windows = { ...older.limit.windows, ...newer.limit.windows };
    return { ...newer, limit: { ...deciding, windows } };
  }
}

/** The end of a limit that closes the account, in milliseconds since 1970; 0 if nothing is closed or no end is known. */
function closedUntil(limit: Report['limit'] | undefined): number {
  return limit && closesAccount(usageLimitOf(limit)) ? (limit.resetsAt ?? 0) : 0;
}

/** The report without an end that no window can have. */
function bounded(limit: Report['limit'], at: number): Report['limit'] {
  const { resetsAt } = limit;
  return resetsAt === undefined ? limit : { ...limit, resetsAt: Math.min(resetsAt, at + longest) };
}

/** What of a report counts now; undefined if nothing does. */
function asOf({ at, limit }: Report, now: number): UsageLimit | undefined {
  const counts = ({ resetsAt }: { resetsAt?: number | undefined }): boolean =>
    resetsAt === undefined ? now - at < longestWithoutEnd : resetsAt > now;
  const windows = Object.fromEntries(
    Object.entries(limit.windows).filter(([, window]) => counts(window)),
  );
  if (counts(limit)) return { ...usageLimitOf(limit), windows };
  return Object.keys(windows).length === 0 ? undefined : { ...noLimit, windows };
}

const noLimit = {
  status: 'allowed',
  type: undefined,
  resetsAt: undefined,
  utilization: undefined,
  usingOverage: false,
};

function usageLimitOf(limit: Report['limit']): UsageLimit {
  const { type, resetsAt, utilization } = limit;
  return { ...limit, type, resetsAt, utilization };
}
