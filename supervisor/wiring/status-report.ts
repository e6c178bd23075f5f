/** Builds the response of `GET /v1/status` from the states of the parts. */
import { bringsLogin } from '../../shared/login-variables.ts';
import { printable } from '../../shared/printable.ts';
import { redact } from '../../shared/redact.ts';
import { version } from '../../shared/version.ts';
import type { InitReportReader } from '../boot/init-report.ts';
import type { SupervisorConfig } from '../config.ts';
import type { Login } from '../credentials/login.ts';
import type { Status } from '../http/status.ts';
import type { MemoryReport } from '../memory/guard.ts';
import type { Profiles } from '../profiles/profiles.ts';
import type { Parts } from './compose.ts';
import { quotaReport } from './quota-report.ts';

export interface StatusParts extends Parts {
  state: Status['state'];
  /** By performance.now(). */
  started: number;
  cliVersion: string;
  /** Undefined before the self-test of the CLI. */
  learnsLate: boolean | undefined;
  config: SupervisorConfig;
  profiles: Profiles;
  /** The section about jobs. */
  jobs: Status['jobs'];
}

export function describeStatus(parts: StatusParts): Status {
  const { pool, config } = parts;
  const { reading } = parts.poolMemory.report;
  const sizes = new Map(reading.workers.map((worker) => [worker.name, worker]));
  const now = performance.now();
  const seconds = (since: number): number => Math.round((now - since) / 1_000);
  return {
    version,
    cli_version: parts.cliVersion,
    shared_spares: used(parts.learnsLate),
    forks_of_histories: used(parts.forkFlag.known),
    state: parts.state === 'serving' && parts.pause.state ? 'paused' : parts.state,
    uptime_s: seconds(parts.started),
    workers: pool.workers.map((worker) => ({
      name: worker.name,
      state: worker.state,
      profile: worker.spec.profile,
      session_id: worker.sessionId ?? null,
      pid: worker.process.pid ?? null,
      memory: sizes.get(worker.name)?.bytes ?? null,
      memory_growth: rounded(sizes.get(worker.name)?.growth),
      processes: sizes.get(worker.name)?.processes ?? null,
      age_s: seconds(worker.startedAt),
      ...(worker.process.configCommit === undefined
        ? {}
        : { config_commit: worker.process.configCommit }),
    })),
    configuration: describeConfiguration(parts.initReport),
    ...describeProblems(parts),
    queue: { length: pool.queued, limit: config.queueLimit },
    memory: describeMemory(parts.poolMemory.report),
    recycles: { ...parts.metrics.losses.recycles },
    turns_carried_on: { ...parts.metrics.losses.carriedOn },
    turns_lost: { ...parts.metrics.losses.lost },
    sessions: parts.store.size,
    jobs: parts.jobs,
    profiles: parts.profiles.status,
    limits: parts.gate.states,
    quota: describeQuota(parts),
    disk: {
      level: parts.disk.level,
      volumes: parts.disk.readings.map(({ path, total, free, level }) => ({
        path,
        size: total,
        free,
        level,
      })),
    },
    credentials: describeCredentials(parts.login, config),
    paused: parts.pause.state ?? null,
    tokens: parts.authentication.uses(),
    spending: describeSpending(parts),
  };
}

/** What the CLI cannot start, load or run, or ignores: also for `berth doctor`, which has no token. */
export function describeProblems(
  parts: Pick<Parts, 'pool' | 'lastGood' | 'cliProblems' | 'settings'>,
): Pick<Status, 'launch_failures' | 'cli_problems' | 'settings'> {
  return {
    launch_failures: describeFailures(parts),
    cli_problems: parts.cliProblems.all.map(({ profile, kind, name, problem, since }) => ({
      ...{ profile, kind, name },
      problem: redact(problem),
      since: new Date(since).toISOString(),
    })),
    settings: {
      ignored: parts.settings.ignored.map(({ file, path, message }) => ({ file, path, message })),
    },
  };
}

/** What a CLI can do or not, or was not asked yet. */
function used(supported: boolean | undefined): Status['shared_spares'] {
  if (supported === undefined) return 'untested';
  return supported ? 'used' : 'unsupported';
}

function describeConfiguration({ report }: InitReportReader): Status['configuration'] {
  if (!report) return null;
  const { repository, commit, remote, problem, settings } = report;
  const { confirmed_at, finished_at: applied_at } = report;
  return {
    repository: repository ?? null,
    commit,
    state: remote === 'current' ? 'current' : 'stale',
    problem: problem === undefined ? null : printable(redact(problem)),
    confirmed_at,
    // The age is not negative if the clock was set back.
    age_s: Math.max(0, Math.round((Date.now() - Date.parse(confirmed_at)) / 1_000)),
    applied_at,
    settings: settings ?? 'current',
  };
}

function describeFailures({
  pool,
  lastGood,
}: Pick<Parts, 'pool' | 'lastGood'>): Status['launch_failures'] {
  return [...pool.launchFailures].map(([profile, { error, stderr, attempts, since }]) => {
    const suspect = lastGood.since(profile);
    return {
      profile,
      message: redact(error.message),
      stderr: redact(stderr).split('\n').filter(Boolean),
      attempts,
      since: new Date(since).toISOString(),
      commit: suspect?.commit.commit ?? null,
      last_good_commit: suspect?.lastGood.commit ?? null,
    };
  });
}

function describeSpending({ ledger, budgetsOf }: StatusParts): Status['spending'] {
  const { day, total_usd, tokens, profiles } = ledger.spent;
  return {
    day,
    resets_at: ledger.resetsAt,
    deployment: { spent_usd: total_usd, limit_usd: budgetsOf({}).deployment ?? null },
    tokens: Object.entries(tokens).map(([name, spent_usd]) => ({
      name,
      spent_usd,
      limit_usd: budgetsOf({ token: name }).token ?? null,
    })),
    profiles: Object.entries(profiles).map(([name, spent_usd]) => ({
      name,
      spent_usd,
      limit_usd: budgetsOf({ profile: name }).profile ?? null,
    })),
  };
}

function describeQuota({ profiles, windows }: StatusParts): Status['quota'] {
  const report = quotaReport(profiles.all(), windows);
  return {
    windows: report.windows.map(({ login, window, used, resetsAt, heardAt }) => ({
      ...{ login, window, used_percent: Math.round(used * 1_000) / 10 },
      ...{ resets_at: isoTime(resetsAt), heard_at: new Date(heardAt).toISOString() },
    })),
    shares: report.shares.map(({ share, ...of }) => ({
      ...of,
      share_percent: Math.round(share * 100),
    })),
    reserved: [...report.reserved],
  };
}

function describeMemory({ reading, bounds, level, decisions }: MemoryReport): Status['memory'] {
  const { container } = reading;
  return {
    limit: container?.limit ?? null,
    working_set: container?.workingSet ?? null,
    growth: rounded(container?.growth),
    soft: rounded(bounds.soft),
    hard: rounded(bounds.hard),
    worker_soft: rounded(bounds.workerSoft),
    worker_hard: rounded(bounds.workerHard),
    pressure: level,
    stalled: container?.stalled ?? null,
    oom_kills: container?.oomKills ?? null,
    tasks: container?.tasks ?? null,
    decisions: Object.fromEntries(decisions),
  };
}

/** null for infinity, which means no bound and does not exist in JSON. */
function rounded(value: number | undefined): number | null {
  return value === undefined || !Number.isFinite(value) ? null : Math.round(value);
}

function describeCredentials(login: Login, { inherited }: SupervisorConfig): Status['credentials'] {
  // It has priority over the file.
  const fromEnvironment = bringsLogin(inherited);
  const { state, deadline } = login;
  const fromFile = state.kind === 'missing' ? 'none' : 'file';
  const credentials = state.kind === 'valid' ? state.credentials : undefined;
  return {
    source: fromEnvironment ? 'environment' : fromFile,
    state: state.kind,
    expires_at: isoTime(credentials?.expiresAt),
    login_expires_at: isoTime(deadline?.at),
    login_expiry_estimated: deadline?.estimated ?? false,
    refreshed_at: isoTime(login.watch.refreshedAt),
    put_back_waits_since: isoTime(login.watch.waiting?.since),
    setup_tokens: [...login.setupTokens].map(([profile, { at }]) => ({
      profile,
      expires_at: isoTime(at),
    })),
    advice: login.advice ?? null,
  };
}

function isoTime(milliseconds: number | undefined): string | null {
  return milliseconds === undefined ? null : new Date(milliseconds).toISOString();
}
