/** The alert rules, run by Prometheus' own promtool, and held against the program and the documents. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import t from 'tap';
import { parse, stringify } from 'yaml';
import { createGatewayMetrics } from '../../init/gateway/metrics.ts';
import { createProposalMetrics } from '../../init/proposals/metrics.ts';
import { createSyncMetrics } from '../../init/sync/metrics.ts';
import type { MemoryReport } from '../../supervisor/memory/guard.ts';
import { createMetrics } from '../../supervisor/metrics/counters.ts';
import { createWriteBackMetrics } from '../../supervisor/write-back/metrics.ts';
import { testDirectory } from '../support/directory.ts';

const root = join(import.meta.dirname, '../..');
const file = join(root, 'manifests/components/monitoring/prometheus-rule.yaml');
const isCi = process.env.CI === 'true';
const hasPromtool = spawnSync('promtool', ['--version']).error === undefined;

interface Rule {
  alert: string;
  expr: string;
  for?: string;
  labels: { severity: string };
  annotations: { summary: string; description: string; runbook_url: string };
}

const { spec } = parse(readFileSync(file, 'utf8')) as {
  spec: { groups: { name: string; rules: Rule[] }[] };
};
const rules = spec.groups.flatMap((group) => group.rules);

/** Samples, one a minute, as promtool writes them; times are seconds since the test's begin. */
type Series = Record<string, string>;
const day = 86_400;
const login = (of: string) => `berth_login_expiry_timestamp_seconds{estimated="false",of="${of}"}`;
const lost = 'berth_login_lost';
const constant = (value: number): string => `${value}+0x180`;

/** Of each alert: when it must fire within two hours, and when not. */
const cases: Record<string, { fires: Series; quiet: Series }> = {
  BerthLoginEndsIn7Days: {
    fires: { [login('login')]: constant(6 * day) },
    quiet: { [login('login')]: constant(8 * day), [login('setup-token')]: constant(6 * day) },
  },
  BerthLoginEndsIn3Days: {
    fires: { [login('login')]: constant(2 * day), [lost]: constant(0) },
    quiet: { [login('login')]: constant(4 * day), [lost]: constant(0) },
  },
  BerthLoginLost: {
    fires: { [lost]: constant(1), berth_login_put_back_waiting: constant(0) },
    quiet: { [lost]: constant(1), berth_login_put_back_waiting: constant(1) },
  },
  BerthLoginWaits: {
    // A read-only volume with much free space: no other rule fires.
    fires: { [lost]: constant(1), berth_login_put_back_waiting: constant(1) },
    // A refresh that another process makes.
    quiet: { berth_login_put_back_waiting: '0+0x116 1+0x2 0+0x60' },
  },
  BerthSetupTokenEndsIn30Days: {
    fires: { [login('setup-token')]: constant(29 * day) },
    quiet: { [login('setup-token')]: constant(31 * day), [login('login')]: constant(9 * day) },
  },
  BerthLoginRefreshFails: {
    fires: { 'berth_credentials_refresh_failures_total{reason="failed"}': '0+1x180' },
    quiet: { 'berth_credentials_refresh_failures_total{reason="postponed"}': '0+1x180' },
  },
  BerthNotReady: {
    fires: { berth_ready: constant(0) },
    // A drain and a start.
    quiet: { berth_ready: '1+0x50 0+0x10 1+0x120' },
  },
  BerthCommitRolledBack: {
    fires: { 'berth_sync_rolled_back{commit="b",last_good_commit="a"}': constant(1) },
    quiet: {},
  },
  BerthSyncFails: {
    fires: { berth_sync_failing_timestamp_seconds: constant(60) },
    // A long interval without a failure, and a failure of half an hour.
    quiet: {
      berth_sync_confirmed_timestamp_seconds: constant(60),
      berth_sync_failing_timestamp_seconds: '0+0x90 5400+0x90',
    },
  },
  BerthGatewayFails: {
    fires: { 'berth_gateway_requests_total{operation="fetch",outcome="failed"}': '0+1x180' },
    quiet: {
      'berth_gateway_requests_total{operation="fetch",outcome="served"}': '0+9x180',
      'berth_gateway_requests_total{operation="push",outcome="failed"}': '0+0x60 1+0x120',
    },
  },
  BerthGatewayRefuses: {
    fires: { 'berth_gateway_requests_total{operation="refs",outcome="refused"}': '0+1x180' },
    quiet: { 'berth_gateway_requests_total{operation="refs",outcome="failed"}': '0+1x180' },
  },
  BerthProposalSecret: {
    fires: { 'berth_proposals_left_out{reason="secret"}': constant(1) },
    quiet: {
      'berth_proposals_left_out{reason="secret"}': constant(0),
      'berth_proposals_left_out{reason="binary"}': constant(3),
    },
  },
  BerthProposalsFail: {
    fires: { berth_proposals_failing: constant(1) },
    quiet: { berth_proposals_failing: '1+0x5 0+0x170' },
  },
  BerthGone: { fires: {}, quiet: { 'berth_build_info{version="1"}': constant(1) } },
  BerthRestarts: {
    fires: {
      'process_start_time_seconds{pod="p"}': '0+600x180',
      'berth_build_info{pod="p"}': constant(1),
    },
    // Of another program.
    quiet: {
      'process_start_time_seconds{pod="q"}': '0+600x180',
      'berth_build_info{pod="p"}': constant(1),
    },
  },
  BerthCliFailsToStart: {
    fires: { 'berth_launch_failing{profile="default"}': constant(1) },
    quiet: { 'berth_launch_failing{profile="default"}': '1+0x5 0+0x170' },
  },
  BerthCliNotAsSet: {
    fires: { 'berth_cli_fallback{reason="set_back"}': constant(1) },
    quiet: {
      'berth_cli_fallback{reason="set_back"}': constant(0),
      'berth_cli_fallback{reason="not_installed"}': '1+0x3 0+0x170',
    },
  },
  BerthProfilesRefused: {
    fires: { berth_profiles_refused: constant(1) },
    quiet: { berth_profiles_refused: '1+0x3 0+0x170' },
  },
  BerthSettingsIgnored: {
    fires: { berth_settings_ignored: constant(1) },
    quiet: { berth_settings_ignored: '2+0x1 0+0x170' },
  },
  BerthSettingsKept: {
    fires: { berth_init_settings_invalid: constant(1) },
    quiet: { berth_init_settings_invalid: constant(0) },
  },
  BerthMcpServerDown: {
    fires: { 'berth_cli_problems{profile="default",kind="mcp_server"}': constant(1) },
    // A restart of the server.
    quiet: {
      'berth_cli_problems{profile="default",kind="mcp_server"}': '1+0x10 0+0x170',
      'berth_cli_problems{profile="default",kind="hook"}': constant(1),
    },
  },
  BerthCliProblems: {
    fires: { 'berth_cli_problems{profile="default",kind="hook"}': constant(1) },
    quiet: {
      'berth_cli_problems{profile="default",kind="skill"}': constant(0),
      'berth_cli_problems{profile="default",kind="mcp_server"}': constant(1),
    },
  },
  BerthCostUnseen: {
    fires: { 'berth_cost_unseen_total{profile="default"}': '0+0x100 1+0x80' },
    quiet: { 'berth_cost_unseen_total{profile="default"}': constant(4) },
  },
  BerthQuotaReserved: {
    fires: { 'berth_quota_reserved{profile="review",priority="background"}': constant(1) },
    quiet: { 'berth_quota_reserved{profile="review",priority="background"}': '1+0x100 0+0x80' },
  },
  BerthJobFailed: {
    fires: { 'berth_jobs_ended_total{state="failed"}': '0+0x100 1+0x80' },
    quiet: {
      'berth_jobs_ended_total{state="failed"}': constant(4),
      'berth_jobs_ended_total{state="cancelled"}': '0+1x180',
    },
  },
  BerthJobsWait: {
    fires: { berth_jobs_oldest_queued_timestamp_seconds: constant(60) },
    // The oldest is a minute old, then no job is queued.
    quiet: { berth_jobs_oldest_queued_timestamp_seconds: '0+60x100 NaN+0x80' },
  },
  BerthCallbackUndelivered: {
    fires: { 'berth_job_callbacks_total{outcome="failed"}': '0+0x100 1+0x80' },
    quiet: {
      berth_job_callbacks_oldest_timestamp_seconds: '0+60x180',
      'berth_job_callbacks_total{outcome="failed"}': constant(4),
      'berth_job_callbacks_total{outcome="retried"}': '0+1x180',
    },
  },
  BerthApprovalsUnanswered: {
    fires: { 'berth_approvals_total{outcome="timed_out"}': '0+0x100 1+0x80' },
    quiet: {
      'berth_approvals_total{outcome="timed_out"}': constant(4),
      'berth_approvals_total{outcome="denied"}': '0+1x180',
    },
  },
  BerthJobStoreUnavailable: {
    fires: { berth_job_store_available: constant(0) },
    // A restart of the store.
    quiet: { berth_job_store_available: '1+0x100 0+0x3 1+0x70' },
  },
  BerthTurnsLost: {
    fires: { 'berth_turns_lost_total{reason="crash"}': '0+0x60 1+0x100' },
    quiet: { 'berth_turns_lost_total{reason="crash"}': constant(1) },
  },
  BerthQueueFull: {
    fires: { berth_queue_length: constant(95), berth_queue_limit: constant(100) },
    quiet: { berth_queue_length: constant(0), berth_queue_limit: constant(0) },
  },
  BerthMemoryPressure: {
    fires: { berth_memory_pressure: constant(2) },
    quiet: { berth_memory_pressure: constant(1) },
  },
  BerthMemoryRecycles: {
    fires: { 'berth_memory_decisions_total{cause="a"}': '0+1x180' },
    quiet: { 'berth_memory_decisions_total{cause="a"}': '0+0x100 3+0x80' },
  },
  BerthOomKills: {
    fires: { berth_memory_oom_kills_total: '0+0x110 1+0x70' },
    quiet: { berth_memory_oom_kills_total: constant(4) },
  },
  BerthKilled: {
    fires: { berth_unclean_end_timestamp_seconds: constant(7_200 - 600) },
    quiet: { berth_unclean_end_timestamp_seconds: constant(7_200 - 1_800) },
  },
  BerthDiskLow: {
    // Few inodes are left.
    fires: {
      'berth_disk_free_bytes{path="/w"}': constant(50),
      'berth_disk_size_bytes{path="/w"}': constant(100),
      'berth_disk_level{path="/w"}': constant(1),
    },
    quiet: {
      'berth_disk_free_bytes{path="/w"}': constant(5),
      'berth_disk_size_bytes{path="/w"}': constant(100),
      'berth_disk_level{path="/w"}': constant(0),
      'berth_disk_level{path="/x"}': constant(1),
    },
  },
  BerthDiskFull: {
    // A larger BERTH_DISK_FULL, or no inodes.
    fires: {
      'berth_disk_free_bytes{path="/w"}': constant(1e9),
      'berth_disk_level{path="/w"}': constant(2),
    },
    quiet: {
      'berth_disk_free_bytes{path="/w"}': constant(1e9),
      'berth_disk_level{path="/w"}': constant(1),
    },
  },
  BerthConflicts: {
    fires: { berth_conflicts: constant(1) },
    quiet: { berth_conflicts: constant(0) },
  },
  BerthConfigurationChanged: {
    fires: { 'berth_configuration_changes_total{action="restored"}': '0+1x180' },
    quiet: { 'berth_configuration_changes_total{action="restored"}': constant(3) },
  },
  BerthConfigStale: {
    fires: { berth_init_continued_on_old_state: constant(1) },
    quiet: {
      'berth_init_continued_on_old_state{pod="a"}': constant(0),
      // It has the commit before on purpose.
      berth_init_continued_on_old_state: constant(1),
      'berth_sync_rolled_back{commit="b",last_good_commit="a"}': constant(1),
    },
  },
  BerthGitTokenEnds: {
    fires: { berth_git_token_expiry_timestamp_seconds: constant(13 * day) },
    quiet: { berth_git_token_expiry_timestamp_seconds: constant(15 * day) },
  },
  BerthWriteBackPending: {
    fires: { berth_write_back_pending: constant(1) },
    quiet: { berth_write_back_pending: '1+0x5 0+0x170' },
  },
  BerthWriteBackFails: {
    fires: { 'berth_write_back_failures_total{reason="forbidden"}': '0+1x180' },
    quiet: { 'berth_write_back_failures_total{reason="forbidden"}': '0+0x100 1+0x80' },
  },
  BerthWriteBackGone: {
    fires: { berth_write_back_pending: '0+0x60 _x120' },
    // Of a pod that was replaced.
    quiet: {
      'berth_write_back_pending{pod="before"}': '0+0x60 _x120',
      berth_write_back_pending: '_x62 0+0x120',
    },
  },
  BerthWriteBackStale: {
    fires: {
      berth_write_back_success_timestamp_seconds: constant(0),
      berth_write_back_kept: constant(0),
    },
    // Of a Secret that is read each time, and keeps another login.
    quiet: {
      berth_write_back_success_timestamp_seconds: constant(0),
      berth_write_back_kept: constant(1),
    },
  },
  BerthWriteBackKept: {
    fires: { berth_write_back_kept: constant(1) },
    quiet: { berth_write_back_kept: '0+0x105 1+0x5 0+0x70' },
  },
};

/** With the labels that a ServiceMonitor gives: the same pod, but a port and container each. */
function scraped(series: string): string {
  const [, name = '', own = ''] = /^(\w+)(?:\{(.*)\})?$/.exec(series) ?? [];
  const container = name.startsWith('berth_write_back_') ? 'write-back' : 'runtime';
  const labels: Record<string, string> = {
    ...{ namespace: 'n', pod: 'p', container, endpoint: container, job: 'berth' },
    instance: `10.0.0.1:${container === 'runtime' ? 9090 : 9091}`,
  };
  for (const [, label = '', value = ''] of own.matchAll(/(\w+)="([^"]*)"/g)) labels[label] = value;
  const all = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return `${name}{${all}}`;
}

/** One test for promtool: whether `alert` fires two hours after the begin. */
function testOf(alert: string, series: Series, fires: boolean) {
  return {
    interval: '1m',
    input_series: Object.entries(series).map(([name, values]) => ({
      series: scraped(name),
      values,
    })),
    promql_expr_test: [
      {
        expr: `count(ALERTS{alertname="${alert}",alertstate="firing"}) or vector(0)`,
        eval_time: '2h',
        exp_samples: [{ labels: '{}', value: fires ? 1 : 0 }],
      },
    ],
  };
}

/** Each alert is tested with its own rule only: promtool evaluates all rules of a file at each minute of each test. */
function runPromtool(directory: string, checks: { rule: Rule; tests: unknown[] }[]) {
  const files = checks.map(({ rule, tests }) => {
    const rules = { groups: [{ name: rule.alert, rules: [rule] }] };
    writeFileSync(join(directory, `${rule.alert}.rules.yaml`), stringify(rules));
    const test = { rule_files: [`${rule.alert}.rules.yaml`], evaluation_interval: '1m', tests };
    writeFileSync(join(directory, `${rule.alert}.yaml`), stringify(test));
    return `${rule.alert}.yaml`;
  });
  const { status, stdout, stderr } = spawnSync('promtool', ['test', 'rules', ...files], {
    cwd: directory,
    encoding: 'utf8',
  });
  return { status, output: stdout + stderr };
}

const skip = !hasPromtool && !isCi && 'promtool is not installed (Debian: prometheus)';

t.test('each alert fires when it should, and not when it should not', { skip }, (t) => {
  t.same(Object.keys(cases).sort(), rules.map(({ alert }) => alert).sort());
  const checks = rules.map((rule) => {
    const { fires, quiet } = cases[rule.alert] ?? { fires: {}, quiet: {} };
    return { rule, tests: [testOf(rule.alert, fires, true), testOf(rule.alert, quiet, false)] };
  });
  const { status, output } = runPromtool(testDirectory(t, {}), checks);
  t.equal(status, 0, output);
  t.end();
});

t.test('promtool finds a rule that was bent', { skip }, (t) => {
  const alert = 'BerthLoginLost';
  const written = rules.find((each) => each.alert === alert) as Rule;
  const rule = { ...written, expr: 'berth_login_lost == 2' };
  const tests = [testOf(alert, cases[alert]?.fires ?? {}, true)];
  const { status, output } = runPromtool(testDirectory(t, {}), [{ rule, tests }]);
  t.not(status, 0);
  t.match(output, /BerthLoginLost/);
  t.end();
});

function syncRegistry(): Registry {
  const registry = new Registry();
  createGatewayMetrics(registry, () => 0);
  createProposalMetrics(registry);
  createSyncMetrics(registry);
  return registry;
}

t.test('every metric and label that a rule asks for is one of the program', (t) => {
  const registries = [
    createMetrics({} as never).registry,
    createWriteBackMetrics(() => false).registry,
    syncRegistry(),
  ];
  const known = new Map(
    registries
      .flatMap((registry) => registry.getMetricsAsArray())
      .map((metric) => metric as unknown as { name: string; labelNames?: string[] })
      .map(({ name, labelNames = [] }) => [name, labelNames]),
  );
  const unknown = (expr: string): string[] => {
    const names = [...expr.matchAll(/\b(?:berth|process)_\w+/g)].map(([name]) => name);
    const selectors = [...expr.matchAll(/\b((?:berth|process)_\w+)\{([^}]*)\}/g)];
    const labels = selectors.flatMap(([, name = '', matchers = '']) =>
      [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)]
        .map(([, label = '']) => label)
        .filter((label) => !known.get(name)?.includes(label)),
    );
    return [...names.filter((name) => !known.has(name)), ...labels];
  };
  for (const { alert, expr } of rules) {
    t.same(unknown(expr), [], alert);
    t.match(expr, /\b(berth|process)_\w+/, alert);
  }
  t.same(unknown('berth_login_los{a="b"} + berth_login_lost{c="d"}'), [
    'berth_login_los',
    'a',
    'c',
  ]);
  t.end();
});

t.test('each counter of which a rule takes the increase is 0 before its first event', async (t) => {
  const memory = (): MemoryReport => ({
    reading: { now: 0, container: undefined, workers: [] },
    bounds: { soft: 1, hard: 2, workerSoft: 3, workerHard: 4, workerProcesses: 5 },
    level: 'none',
    decisions: new Map(),
    roundMs: 0,
  });
  const registries = [
    createMetrics({ memory, profiles: () => ['default'], tokens: () => [] } as never).registry,
    createWriteBackMetrics(() => false).registry,
    syncRegistry(),
  ];
  const names = rules.flatMap(({ expr }) =>
    [...expr.matchAll(/\b(?:increase|rate)\(\s*(\w+)/g)].map(([, name = '']) => name),
  );
  t.ok(names.includes('berth_turns_lost_total'));
  for (const name of new Set(names)) {
    const samples = await Promise.all(
      registries.map(
        async (registry) => (await registry.getSingleMetric(name)?.get())?.values ?? [],
      ),
    );
    t.ok(samples.flat().length > 0, name);
    t.ok(
      samples.flat().every(({ value }) => value === 0),
      name,
    );
  }
});

t.test('each alert has a severity, a description and a link to its runbook', (t) => {
  const document = readFileSync(join(root, 'docs/alerts.md'), 'utf8');
  const explained = [...document.matchAll(/^### (\w+)$/gm)].map(([, name]) => name);
  t.same(explained.sort(), rules.map(({ alert }) => alert).sort());
  for (const { alert, labels, annotations } of rules) {
    t.match(labels, { severity: /^(warning|critical)$/ }, alert);
    t.ok(annotations.summary.length > 10, alert);
    t.ok(annotations.description.length > 40, alert);
    t.ok(annotations.runbook_url.endsWith(`/docs/alerts.md#${alert.toLowerCase()}`), alert);
  }
  t.end();
});
