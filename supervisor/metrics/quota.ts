/**
 * The gauges of the owner's share of an account.
 * Invariant: labels are bounded: logins and profiles come from the profiles file, windows from a fixed list.
 */
import { Gauge, type Registry } from 'prom-client';

export interface QuotaReport {
  /** The windows of each login that has reported some. Times in ms since 1970. */
  windows: readonly {
    login: string;
    window: string;
    /** 0 to 1; more with paid overage. */
    used: number;
    resetsAt: number | undefined;
    heardAt: number;
  }[];
  /** The shares that profiles have. */
  shares: readonly {
    profile: string;
    login: string;
    priority: 'normal' | 'background';
    window: 'five_hour' | 'seven_day';
    /** Above 0, up to 1. */
    share: number;
  }[];
  /** Whether prompts of the profiles with a share are refused now. */
  reserved: readonly { profile: string; priority: 'normal' | 'background'; reserved: boolean }[];
}

export function registerQuota(source: () => QuotaReport, registry: Registry): void {
  const registers = [registry];
  new Gauge({
    name: 'berth_quota_used_ratio',
    help: 'Used share of a usage window of the account; 0 after the end of the window, nothing while the use is unknown',
    labelNames: ['login', 'window'],
    registers,
    collect() {
      this.reset();
      for (const { login, window, used } of source().windows) this.set({ login, window }, used);
    },
  });
  new Gauge({
    name: 'berth_quota_reset_timestamp_seconds',
    help: 'When a usage window of the account ends; nothing while the end is unknown',
    labelNames: ['login', 'window'],
    registers,
    collect() {
      this.reset();
      for (const { login, window, resetsAt } of source().windows) {
        if (resetsAt !== undefined) this.set({ login, window }, resetsAt / 1_000);
      }
    },
  });
  new Gauge({
    name: 'berth_quota_share_ratio',
    help: "Used share of a window at which prompts of the profile are refused, so that the rest stays for the account's owner",
    labelNames: ['profile', 'priority', 'window'],
    registers,
    collect() {
      this.reset();
      for (const { profile, priority, window, share } of source().shares) {
        this.set({ profile, priority, window }, share);
      }
    },
  });
  new Gauge({
    name: 'berth_quota_reserved',
    help: 'Whether prompts of the profile are refused, and its jobs wait, because their share of the account is used up',
    labelNames: ['profile', 'priority'],
    registers,
    collect() {
      this.reset();
      for (const { profile, priority, reserved } of source().reserved) {
        this.set({ profile, priority }, Number(reserved));
      }
    },
  });
}
