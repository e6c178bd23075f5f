/**
 * A model of a subscription's usage windows: five hours from the first use, and seven days. It reports its use as the CLI
 * passes it on (`rate_limit_event`).
 */
export interface SimulatedWindow {
  /** What may be used in one window, in any unit. */
  readonly limit: number;
  readonly length: number;
  used: number;
  /** Milliseconds since 1970; undefined before the first use. */
  endsAt: number | undefined;
}

const hour = 3_600_000;

export class SimulatedAccount {
  readonly windows: { five_hour: SimulatedWindow; seven_day: SimulatedWindow };

  constructor(fiveHours: number, week: number) {
    this.windows = {
      five_hour: { limit: fiveHours, length: 5 * hour, used: 0, endsAt: undefined },
      seven_day: { limit: week, length: 168 * hour, used: 0, endsAt: undefined },
    };
  }

  /** Uses the account. @returns false, without use, if a limit is reached */
  use(amount: number, now: number): boolean {
    const windows = Object.values(this.windows);
    for (const window of windows) {
      if (window.endsAt !== undefined && now < window.endsAt) continue;
      window.used = 0;
      window.endsAt = now + window.length;
    }
    if (windows.some(({ used, limit }) => used >= limit)) return false;
    for (const window of windows) window.used += amount;
    return true;
  }

  /** A message of the CLI about the limit. */
  report(now: number): object {
    const unifiedWindows = Object.fromEntries(
      Object.entries(this.windows)
        .filter(([, { endsAt }]) => endsAt !== undefined && endsAt > now)
        .map(([name, { used, limit, endsAt = 0 }]) => [
          name,
          { utilization: used / limit, resetsAt: Math.ceil(endsAt / 1_000) },
        ]),
    );
    return { rate_limit_info: { status: 'allowed', unifiedWindows } };
  }
}
