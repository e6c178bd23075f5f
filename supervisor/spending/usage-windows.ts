/**
 * How much of its usage windows each login has used, as last heard. A window is a span of time in which a subscription may
 * use so much: five hours from the first use, or seven days.
 * Invariants: a window that has ended counts as unused until it is heard of again. A login without a report is unknown,
 * which is the rule for logins without a subscription. Nothing is stored on disk: the next answer of the API reports again.
 */
import type { UsageLimit } from '../claude/usage-limit.ts';

export const usageWindowNames = [
  'five_hour',
  'seven_day',
  'seven_day_opus',
  'seven_day_sonnet',
] as const;

export type UsageWindowName = (typeof usageWindowNames)[number];

export interface WindowReport {
  /** 0 to 1; more with paid overage. */
  used: number;
  /** Milliseconds since 1970; undefined if the API does not name the end. */
  resetsAt: number | undefined;
}

export type WindowReports = Partial<Record<UsageWindowName, WindowReport>>;

export interface UsedWindow extends WindowReport {
  name: UsageWindowName;
  /** When it was reported last, in milliseconds since 1970. */
  heardAt: number;
}

const hour = 3_600_000;
/** The length of each window; a report counts no longer than this. */
const lengths: Readonly<Record<UsageWindowName, number>> = {
  five_hour: 5 * hour,
  seven_day: 168 * hour,
  seven_day_opus: 168 * hour,
  seven_day_sonnet: 168 * hour,
};

interface Known extends WindowReport {
  heardAt: number;
  /** When the report counts no more. */
  until: number;
}

export class UsageWindows {
  readonly #logins = new Map<string, Map<UsageWindowName, Known>>();
  readonly #now: () => number;
  /** Since when reports are noted, in milliseconds since 1970. */
  readonly since: number;

  /** @param now milliseconds since 1970 */
  constructor(now: () => number = Date.now) {
    this.#now = now;
    this.since = now();
  }

  /** Notes a report about a login. Windows that the report does not have stay as they are. */
  heard(login: string, reports: WindowReports): void {
    const now = this.#now();
    const windows = this.#logins.get(login) ?? new Map<UsageWindowName, Known>();
    for (const name of usageWindowNames) {
      const report = reports[name];
      if (!report) continue;
      const latest = now + lengths[name];
      const { used, resetsAt } = report;
      windows.set(name, {
        used,
        resetsAt: resetsAt === undefined ? undefined : Math.min(resetsAt, latest),
        heardAt: now,
        until: Math.min(resetsAt ?? latest, latest),
      });
    }
    if (windows.size > 0) this.#logins.set(login, windows);
  }

  /** Forgets a login that was replaced: the new login may belong to another account. */
  forget(login: string): void {
    this.#logins.delete(login);
  }

  get logins(): string[] {
    return [...this.#logins.keys()];
  }

  /** The windows of a login as they are now; undefined if nothing was ever reported. */
  of(login: string): UsedWindow[] | undefined {
    const windows = this.#logins.get(login);
    if (!windows) return undefined;
    const now = this.#now();
    return [...windows].map(([name, known]) => {
      // After the clock was set back, a report counts no longer than its window.
      const over = known.until <= now || known.heardAt > now + lengths[name];
      const { used, resetsAt, heardAt } = known;
      return { name, heardAt, ...(over ? { used: 0, resetsAt: undefined } : { used, resetsAt }) };
    });
  }

  /** When the login was last reported on, in milliseconds since 1970; undefined before. */
  heardAt(login: string): number | undefined {
    const windows = this.#logins.get(login);
    return windows && Math.max(...[...windows.values()].map(({ heardAt }) => heardAt));
  }
}

/** What a message about the limit of an account says about its windows. */
export function reportsIn({
  windows,
  type,
  status,
  utilization,
  resetsAt,
}: UsageLimit): WindowReports {
  const reports: WindowReports = {};
  for (const name of usageWindowNames) {
    const window = windows[name];
    if (window) reports[name] = { used: window.utilization, resetsAt: window.resetsAt };
    if (name !== type) continue;
    // The deciding window is reported also without the others. A limit that is reached leaves nothing of it.
    const used = status === 'rejected' ? Math.max(1, utilization ?? 1) : utilization;
    if (used !== undefined) reports[name] = { used, resetsAt: resetsAt ?? window?.resetsAt };
  }
  return reports;
}
