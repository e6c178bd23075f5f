/**
 * Sums today's spending by token, by profile and in total, and checks the budgets. A day is a day
 * in UTC.
 * Invariants: within a day sums only grow, also if the clock is set back and corrected again. They
 * survive a restart, except the last second before a crash. The volume is written at most once a
 * second, however many turns end.
 */
import { asBerthError, BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { readSpending, type Spending, writeSpending } from './spending-file.ts';

/** US dollars that may be spent in a day in UTC; absent means unlimited. */
export interface BudgetLimits {
  token?: number | undefined;
  profile?: number | undefined;
  deployment?: number | undefined;
}

export interface SpendingLedgerOptions {
  stateDirectory: string;
  log: Log;
  /** Other information about today's spending, if the file is damaged. */
  recover: (day: string) => Promise<{ token: string; usd: number }[]>;
  /** Milliseconds since 1970. */
  now?: () => number;
  /** Milliseconds of a monotonic clock. */
  elapsed?: () => number;
  /** Milliseconds between two writes. */
  writeEvery?: number;
}

const dayLength = 86_400_000;
/** Milliseconds by which a monotonic clock may differ from a synchronised clock. */
const drift = 600_000;

export class SpendingLedger {
  readonly #options: SpendingLedgerOptions;
  readonly #now: () => number;
  readonly #elapsed: () => number;
  readonly #tokens = new Map<string, number>();
  readonly #profiles = new Map<string, number>();
  #total = 0;
  /** What other replicas have spent. */
  #elsewhere: readonly Spending[] = [];
  /** The day of the sums. */
  #day: string;
  /** The day of the clock at the last check; earlier than `#day` if the clock was set back. */
  #seen: string;
  #looked: { now: number; elapsed: number } | undefined;
  /** The day of the clock, in milliseconds since 1970 and as a name: each prompt needs it. */
  #dayStart = Number.NEGATIVE_INFINITY;
  #dayName = '';
  #dirty = false;
  /** False if the file has a newer version; it is left unchanged then. */
  #recorded = true;
  #failing = false;
  /** From the start of a write until the next write may start. */
  #resting = false;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: SpendingLedgerOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#elapsed = options.elapsed ?? (() => performance.now());
    this.#day = this.#today();
    this.#seen = this.#day;
  }

  /**
   * Reads today's spending of an earlier run; a damaged record is logged.
   * @throws BerthError `volume_unwritable` if it cannot be read just now
   */
  async load(): Promise<void> {
    const { stateDirectory, log, recover } = this.#options;
    const found = await readSpending(stateDirectory);
    if (found.kind === 'read') this.#take(found.spending);
    if (found.kind === 'newer') {
      this.#recorded = false;
      log.error(
        'spending_unreadable',
        "today's spending was recorded by a newer berth: the budgets start at zero, and restarts lose the sums, until that version runs again",
      );
    }
    if (found.kind !== 'damaged') return;
    const known = await recover(this.#day).catch(() => []);
    for (const { token, usd } of known) this.#count(undefined, token, usd);
    this.#changed();
    const { reason, saved } = found;
    log.error(
      'spending_unreadable',
      `the record of today's spending is damaged: the budgets continue from the $${show(this.#total)} of the sessions that began today`,
      { reason, saved },
    );
  }

  /**
   * Call this before a prompt is accepted. Running turns are not counted yet, so a day can end
   * above its budget by the turns that ran concurrently.
   * @throws BerthError `daily_budget_exceeded`, which names the budget
   */
  check(token: string, profile: string, limits: BudgetLimits): void {
    this.#turnDay();
    const budgets = [
      {
        of: 'token',
        what: `the token ${token}`,
        spent: this.#all((day) => day.tokens[token], this.#tokens.get(token)),
      },
      {
        of: 'profile',
        what: `the profile ${profile}`,
        spent: this.#all((day) => day.profiles[profile], this.#profiles.get(profile)),
      },
      {
        of: 'deployment',
        what: 'this deployment',
        spent: this.#all((day) => day.total_usd, this.#total),
      },
    ] as const;
    for (const { of, what, spent } of budgets) {
      const limit = limits[of];
      if (limit === undefined || spent < limit) continue;
      const raise = of === 'deployment' ? 'BERTH_DAILY_BUDGET_USD' : 'it in the profiles file';
      throw new BerthError(
        'daily_budget_exceeded',
        `cannot accept the prompt: the daily budget of ${what} is used up ($${show(spent)} of $${show(limit)}); wait until ${this.resetsAt}, or raise ${raise}`,
        {
          details: {
            budget: of,
            resets_at: this.resetsAt,
            retry_after: Math.max(1, Math.ceil((Date.parse(this.resetsAt) - this.#now()) / 1_000)),
          },
        },
      );
    }
  }

  /** The error that `check` would throw. */
  refusalOf(token: string, profile: string, limits: BudgetLimits): BerthError | undefined {
    try {
      this.check(token, profile, limits);
      return undefined;
    } catch (error) {
      return asBerthError(error);
    }
  }

  /**
   * Counts the cost of a turn, answered or not. @param token undefined if the turn belongs to no
   * token
   */
  add(token: string | undefined, profile: string, usd: number): void {
    if (!(usd > 0 && usd < Number.POSITIVE_INFINITY)) return;
    this.#turnDay();
    this.#count(profile, token, usd);
    this.#changed();
  }

  /** The day's sums of this replica in US dollars. */
  get spent(): Readonly<Spending> {
    this.#turnDay();
    return {
      version: 1,
      day: this.#day,
      total_usd: this.#total,
      tokens: Object.fromEntries(this.#tokens),
      profiles: Object.fromEntries(this.#profiles),
    };
  }

  /** Replaces what other replicas have spent; sums of another day do not count. */
  countElsewhere(others: readonly Spending[]): void {
    this.#elsewhere = others;
  }

  /** When the next day begins, as an ISO time. */
  get resetsAt(): string {
    return new Date(Date.parse(this.#seen) + dayLength).toISOString();
  }

  /** Resolves when all added costs are on the volume, or could not be written. */
  async flush(): Promise<void> {
    await this.#writing;
    clearTimeout(this.#timer);
    if (this.#dirty && this.#recorded) await this.#write();
    clearTimeout(this.#timer);
  }

  /** From now on nothing is written. */
  abandon(): void {
    this.#recorded = false;
    clearTimeout(this.#timer);
  }

  /** A sum of the day over all replicas. */
  #all(part: (day: Spending) => number | undefined, own = 0): number {
    let sum = own;
    for (const each of this.#elsewhere) if (each.day === this.#day) sum += part(each) ?? 0;
    return sum;
  }

  #today(): string {
    const now = this.#now();
    if (now < this.#dayStart || now >= this.#dayStart + dayLength) {
      this.#dayStart = Math.floor(now / dayLength) * dayLength;
      this.#dayName = new Date(now).toISOString().slice(0, 10);
    }
    return this.#dayName;
  }

  /**
   * A later day starts at zero. An earlier day starts at zero only if time has passed up to it: a
   * clock that was set back and corrected grants no budget twice.
   */
  #turnDay(): void {
    const today = this.#today();
    if (today > this.#day || (today > this.#seen && this.#timeHasPassed())) {
      this.#clear();
      this.#day = today;
    }
    this.#seen = today;
    this.#looked = { now: this.#now(), elapsed: this.#elapsed() };
  }

  /** Whether the clock has advanced by itself since the last check. */
  #timeHasPassed(): boolean {
    if (!this.#looked) return false;
    const { now, elapsed } = this.#looked;
    return Math.abs(this.#now() - now - (this.#elapsed() - elapsed)) < drift;
  }

  #clear(): void {
    this.#tokens.clear();
    this.#profiles.clear();
    this.#total = 0;
  }

  #take({ day, total_usd, tokens, profiles }: Spending): void {
    this.#day = day;
    this.#total = total_usd;
    for (const [name, usd] of Object.entries(tokens)) this.#tokens.set(name, usd);
    for (const [name, usd] of Object.entries(profiles)) this.#profiles.set(name, usd);
    this.#turnDay();
  }

  #count(profile: string | undefined, token: string | undefined, usd: number): void {
    this.#total += usd;
    if (token !== undefined) this.#tokens.set(token, (this.#tokens.get(token) ?? 0) + usd);
    if (profile !== undefined) {
      this.#profiles.set(profile, (this.#profiles.get(profile) ?? 0) + usd);
    }
  }

  /** Writes now if nothing was written for a while; otherwise at the end of that interval. */
  #changed(): void {
    this.#dirty = true;
    if (this.#recorded && !this.#resting) this.#writing = this.#write();
  }

  async #write(): Promise<void> {
    const { stateDirectory, log, writeEvery = 1_000 } = this.#options;
    this.#dirty = false;
    this.#resting = true;
    try {
      await writeSpending(stateDirectory, this.spent, () => this.#recorded);
      this.#failing = false;
    } catch (error) {
      this.#dirty = true;
      if (!this.#failing && this.#recorded) {
        log.error(
          'spending_unrecorded',
          "cannot record today's spending; a restart would lose it",
          { error },
        );
      }
      this.#failing = true;
    }
    this.#timer = setTimeout(() => {
      this.#resting = false;
      if (this.#dirty && this.#recorded) this.#writing = this.#write();
    }, writeEvery).unref();
  }
}

function show(usd: number): string {
  return usd.toFixed(usd > 0 && usd < 0.01 ? 6 : 2);
}
