/** The gauges of the supervisor, read at each scrape. */
import { Gauge, type Registry } from 'prom-client';
import { version } from '../../shared/version.ts';
import { type HealthKind, healthKinds } from '../claude/cli-health.ts';
import type { MemoryReport } from '../memory/guard.ts';
import type { AccountState } from '../prompts/limit-account.ts';
import { type DiskReading, diskLevels } from '../sessions/disk.ts';
import { type InitSource, registerInit } from './init.ts';
import type { JobSource } from './jobs.ts';
import { registerMemory } from './memory.ts';
import { type QuotaReport, registerQuota } from './quota.ts';

export interface MetricSources {
  /** Whether /readyz succeeds. */
  ready: () => boolean;
  /**
   * When an unclean shutdown of the previous run was detected: ms since 1970; otherwise undefined.
   */
  uncleanEnd: () => number | undefined;
  /** The names of the profiles. */
  profiles: () => readonly string[];
  /** The names of the API tokens. */
  tokens: () => readonly string[];
  /** Workers by state. */
  workers: () => Record<string, number>;
  /** By profile: whether the last start of a worker failed. */
  launchFailing: () => readonly (readonly [profile: string, failing: boolean])[];
  /** Components that CLI processes could not load or run. */
  cliProblems: () => readonly { profile: string; kind: HealthKind }[];
  queued: () => number;
  queueLimit: () => number;
  memory: () => MemoryReport;
  init: InitSource;
  /** Whether the current profiles file is not in effect. */
  profilesRefused: () => boolean;
  /** The settings that the CLI ignores. */
  settingsIgnored: () => readonly unknown[];
  /** Whether the CLI that init installed fails, so that its predecessor runs. */
  cliSetBack: () => boolean;
  /** US dollars of today (UTC), and the deployment's budget if there is one. */
  spending: () => { spent: number; limit: number | undefined; tokens: Record<string, number> };
  paused: () => boolean;
  /**
   * For each login: whether its account is at a limit, and the used share and the end of each
   * window.
   */
  limits: () => readonly Pick<
    AccountState,
    'login' | 'closed' | 'utilization' | 'window_resets_at'
  >[];
  /** The use of the account's windows, and the shares of profiles. */
  quota: () => QuotaReport;
  /** Seconds since 1970 at which the access token expires; undefined if unknown. */
  credentialsExpiry: () => number | undefined;
  /** Times in ms since 1970; undefined if unknown. */
  login: () => {
    lost: boolean;
    /** Whether a good login waits to be restored. */
    waits: boolean;
    refreshedAt: number | undefined;
    deadline: { at: number; estimated: boolean; of: 'login' | 'setup-token' } | undefined;
    /** Expiry of the setup-tokens of profiles. */
    setupTokens: ReadonlyMap<string, { at: number; estimated: boolean }>;
  };
  disks: () => readonly Pick<DiskReading, 'path' | 'total' | 'free' | 'level'>[];
  sessions: () => number;
  /** The mirrors of repositories. */
  checkouts: () => { mirrors: number; mirrorBytes: number; spares: number };
  /** The store of jobs; undefined before it is open. */
  jobs?: () => JobSource | undefined;
  /** Approvals that turns with a process wait for. */
  approvals?: () => number;
}

export function registerGauges(sources: MetricSources, registry: Registry): void {
  const registers = [registry];
  const labelled = <L extends string>(
    name: string,
    help: string,
    label: L,
    values: () => Iterable<readonly [string, number]>,
  ): void => {
    new Gauge({
      name,
      help,
      labelNames: [label],
      registers,
      collect() {
        for (const [key, value] of values()) this.set({ [label]: key } as Record<L, string>, value);
      },
    });
  };
  const gauge = (name: string, help: string, value: () => number | undefined): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value() ?? Number.NaN);
      },
    });
  };
  labelled('berth_build_info', 'Always 1; the version is in the label', 'version', () => [
    [version, 1],
  ]);
  labelled('berth_workers', 'CLI processes by state', 'state', () =>
    Object.entries(sources.workers()),
  );
  new Gauge({
    name: 'berth_launch_failing',
    help: 'Whether the last start of a worker failed; while it stays 1, prompts are answered with cli_unavailable',
    labelNames: ['profile'],
    registers,
    collect() {
      // A removed profile has no value any more.
      this.reset();
      for (const [profile, failing] of sources.launchFailing())
        this.set({ profile }, Number(failing));
    },
  });
  new Gauge({
    name: 'berth_cli_problems',
    help: 'Components that the CLI reports as not working, by kind: mcp_server (no connection), plugin and skill (not loaded), hook (failed)',
    labelNames: ['profile', 'kind'],
    registers,
    collect() {
      this.reset();
      for (const profile of sources.profiles()) {
        for (const kind of healthKinds) this.set({ profile, kind }, 0);
      }
      for (const { profile, kind } of sources.cliProblems()) this.inc({ profile, kind });
    },
  });
  gauge('berth_queue_length', 'Prompts that wait for a worker', sources.queued);
  gauge('berth_queue_limit', 'BERTH_QUEUE_LIMIT', () => sources.queueLimit());
  gauge('berth_ready', 'Whether /readyz succeeds', () => Number(sources.ready()));
  gauge(
    'berth_unclean_end_timestamp_seconds',
    'When this run began, if the previous run was killed or its node failed',
    () => seconds(sources.uncleanEnd()),
  );
  gauge(
    'berth_profiles_refused',
    'Whether the current BERTH_PROFILES_FILE is invalid and not in effect',
    () => Number(sources.profilesRefused()),
  );
  gauge(
    'berth_settings_ignored',
    'Settings that the CLI ignores: the whole settings.json, or deny rules and hooks in it',
    () => sources.settingsIgnored().length,
  );
  gauge('berth_sessions', 'Sessions that can be continued', sources.sessions);
  registerMemory(sources.memory, registers);
  registerQuota(() => sources.quota(), registry);
  registerInit(sources.init, registers);
  labelled(
    'berth_cli_fallback',
    'Whether another CLI than the configured version is used: not_installed (init could not install it), set_back (it fails)',
    'reason',
    () => [
      ['not_installed', Number(sources.init.report?.cli === 'previous')],
      ['set_back', Number(sources.cliSetBack())],
    ],
  );
  gauge('berth_paused', 'Whether prompts are refused until /v1/resume', () =>
    Number(sources.paused()),
  );
  labelled(
    'berth_limit_closed',
    'Whether no prompt is sent because the account is at a limit',
    'login',
    () => sources.limits().map(({ login, closed }) => [login, Number(closed)] as const),
  );
  new Gauge({
    name: 'berth_limit_utilization_ratio',
    help: "Used share of a window of the account's limits, as last reported by the API",
    labelNames: ['login', 'window'],
    registers,
    collect() {
      // A window that was reset has no value any more.
      this.reset();
      for (const { login, utilization } of sources.limits()) {
        for (const [window, used] of Object.entries(utilization)) this.set({ login, window }, used);
      }
    },
  });
  new Gauge({
    name: 'berth_limit_reset_timestamp_seconds',
    help: "When a window of the account's limits ends, as last reported by the API",
    labelNames: ['login', 'window'],
    registers,
    collect() {
      this.reset();
      for (const { login, window_resets_at } of sources.limits()) {
        for (const [window, at] of Object.entries(window_resets_at)) {
          this.set({ login, window }, Date.parse(at) / 1_000);
        }
      }
    },
  });
  new Gauge({
    name: 'berth_token_spent_today_usd',
    help: 'US dollars of this day in UTC by API token, at list prices',
    labelNames: ['token'],
    registers,
    collect() {
      // A new day starts without values.
      this.reset();
      for (const [token, usd] of Object.entries(sources.spending().tokens))
        this.set({ token }, usd);
    },
  });
  gauge(
    'berth_spent_today_usd',
    'US dollars of this day in UTC, at list prices',
    () => sources.spending().spent,
  );
  gauge(
    'berth_daily_budget_usd',
    "The deployment's budget for a day; NaN without one",
    () => sources.spending().limit,
  );
  gauge(
    'berth_credentials_expiry_timestamp_seconds',
    'When the access token expires; the CLI refreshes it',
    sources.credentialsExpiry,
  );
  gauge('berth_login_lost', 'Whether prompts are refused until a person logs in', () =>
    Number(sources.login().lost),
  );
  gauge(
    'berth_login_put_back_waiting',
    'Whether a good login waits to be restored until the volume is writable again',
    () => Number(sources.login().waits),
  );
  gauge(
    'berth_credentials_refreshed_timestamp_seconds',
    'When the last refresh was seen; NaN without a refresh since the start',
    () => seconds(sources.login().refreshedAt),
  );
  new Gauge({
    name: 'berth_login_expiry_timestamp_seconds',
    help: 'When a person must log in again; of: login or setup-token, with the profile if the profile has its own setup-token; estimated: derived from the time of its first use',
    labelNames: ['estimated', 'of', 'profile'],
    registers,
    collect() {
      this.reset();
      const { deadline, setupTokens } = sources.login();
      const set = (of: string, estimated: boolean, at: number, profile = '') =>
        this.set({ estimated: String(estimated), of, profile }, at / 1_000);
      if (deadline) set(deadline.of, deadline.estimated, deadline.at);
      for (const [profile, { at, estimated }] of setupTokens) {
        set('setup-token', estimated, at, profile);
      }
    },
  });
  labelled('berth_disk_size_bytes', 'Size of the file system at that path', 'path', () =>
    sources.disks().map(({ path, total }) => [path, total] as const),
  );
  labelled('berth_disk_free_bytes', 'Bytes that can still be written at that path', 'path', () =>
    sources.disks().map(({ path, free }) => [path, free] as const),
  );
  labelled(
    'berth_disk_level',
    'Free bytes and inodes at that path: 0 enough, 1 low (BERTH_DISK_LOW), 2 full (BERTH_DISK_FULL): no session starts',
    'path',
    () => sources.disks().map(({ path, level }) => [path, diskLevels.indexOf(level)] as const),
  );
}

function seconds(milliseconds: number | undefined): number | undefined {
  return milliseconds === undefined ? undefined : milliseconds / 1_000;
}
