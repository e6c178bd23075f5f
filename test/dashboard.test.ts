/** The Grafana dashboard against the metrics that the supervisor registers, and Prometheus' own parser. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import t from 'tap';
import { stringify } from 'yaml';
import { createGatewayMetrics } from '../init/gateway/metrics.ts';
import { createProposalMetrics } from '../init/proposals/metrics.ts';
import { createSyncMetrics } from '../init/sync/metrics.ts';
import { dashboard, queries, scrapeInterval } from '../scripts/dashboard.ts';
import { rows } from '../scripts/dashboard-panels.ts';
import { createMetrics } from '../supervisor/metrics/counters.ts';
import { createWriteBackMetrics } from '../supervisor/write-back/metrics.ts';
import { testDirectory } from './support/directory.ts';
import { cannotRender, renderOverlay } from './support/manifests.ts';

const isCi = process.env.CI === 'true';

/** The labels of each metric by the names under which it is asked for. */
function registered(): Map<string, string[]> {
  const ofInit = new Registry();
  createGatewayMetrics(ofInit, () => 0);
  createProposalMetrics(ofInit);
  createSyncMetrics(ofInit);
  const registries = [
    ofInit,
    createMetrics({} as never).registry,
    createWriteBackMetrics(() => false).registry,
  ];
  const known = new Map<string, string[]>();
  for (const metric of registries.flatMap((registry) => registry.getMetricsAsArray())) {
    const { name, type, labelNames = [] } = metric as unknown as RegisteredMetric;
    if (type !== 'histogram') known.set(name, labelNames);
    else for (const end of ['bucket', 'sum', 'count']) known.set(`${name}_${end}`, labelNames);
  }
  return known;
}

interface RegisteredMetric {
  name: string;
  type: string;
  labelNames?: string[];
}

/** Those that Prometheus gives to what it scrapes, and those of buckets. */
const everywhere = ['namespace', 'job', 'pod', 'le'];

/** What is wrong with the names in a query. */
function problemsIn(query: string, known = registered()): string[] {
  const selectors = [...query.matchAll(/\b([a-z]\w*)\{([^}]*)\}/g)];
  const metrics = selectors.map(([, name = '']) => name);
  const mentioned = [...query.matchAll(/\b(?:berth|process|nodejs)_\w+/g)].map(([name]) => name);
  const unknown = mentioned.filter((name) => !known.has(name) || !metrics.includes(name));
  const has = (label: string) => (name: string) =>
    everywhere.includes(label) || known.get(name)?.includes(label);
  const matched = selectors.flatMap(([, name = '', matchers = '']) =>
    [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)]
      .map(([, label = '']) => label)
      .filter((label) => !has(label)(name)),
  );
  const grouped = [...query.matchAll(/\bby \(([^)]*)\)/g)]
    .flatMap(([, labels = '']) => labels.split(/,\s*/))
    .filter((label) => !metrics.some(has(label)));
  return [...unknown, ...matched, ...grouped];
}

t.test('every metric and label that the dashboard asks for is one of the programs', (t) => {
  const known = registered();
  t.ok(queries().length > 35);
  for (const query of queries()) t.same(problemsIn(query, known), [], query);
  for (const panel of Object.values(rows).flat()) {
    for (const [legend, query] of Object.entries(panel.queries)) {
      const named = [...legend.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = '']) => label);
      const grouped = /\bby \(([^)]*)\)/.exec(query)?.[1]?.split(/,\s*/) ?? [];
      t.same(
        named.filter((label) => !grouped.includes(label)),
        [],
        `${panel.title}: ${legend}`,
      );
    }
  }
  t.same(problemsIn('sum by (cause) (berth_prompts_totl{outcom="ok"})'), [
    'berth_prompts_totl',
    'outcom',
    'cause',
  ]);
  t.same(problemsIn('max by (kind) (berth_workers{job="a",reason=~"b"}) + berth_paused'), [
    'berth_paused',
    'reason',
    'kind',
  ]);
  t.end();
});

t.test('no panel reaches beyond the last column, none lies on another', (t) => {
  const places = (dashboard().panels ?? []).map(({ title, gridPos }) => {
    const { x, y, w, h } = gridPos ?? { x: -1, y: -1, w: 0, h: 0 };
    return { title, x, y, right: x + w, bottom: y + h };
  });
  t.equal(places.length, Object.values(rows).flat().length + Object.keys(rows).length);
  for (const [index, { title, x, y, right, bottom }] of places.entries()) {
    t.ok([x, y, right, bottom].every(Number.isInteger), `${title} has a place`);
    t.ok(x >= 0 && y >= 0 && x < right && y < bottom && right <= 24, `${title} is within`);
    const under = places
      .slice(index + 1)
      .filter(
        (other) => x < other.right && other.x < right && y < other.bottom && other.y < bottom,
      );
    t.same(under, [], `${title} lies alone`);
  }
  t.end();
});

t.test('the row "At a glance" comes first, and the dashboard fits on about two screens', (t) => {
  const titles = rows['At a glance']?.map(({ title }) => title) ?? [];
  for (const wanted of [
    ...['Ready', 'Prompts refused', 'Used of the account', 'The window ends in', 'Spent today'],
    ...['Spent in 30 days', 'Login ends in', 'Restarts, 24 h', 'Killed, 24 h'],
  ]) {
    t.ok(titles.includes(wanted), wanted);
  }
  t.equal(Object.keys(rows)[0], 'At a glance');
  t.ok(
    (rows['At a glance'] ?? []).every(({ stat }) => stat),
    'numbers alone',
  );
  const bottom = Math.max(
    ...(dashboard().panels ?? []).map(({ gridPos }) => (gridPos?.y ?? 0) + (gridPos?.h ?? 0)),
  );
  t.ok(bottom <= 48, `${bottom} units; a screen has some 20`);
  t.end();
});

t.test('the curves in one panel have different colours', (t) => {
  for (const panel of Object.values(rows)
    .flat()
    .filter(({ stat }) => !stat)) {
    const { title, queries: asked, colors = {}, bounds = {}, events, stacked } = panel;
    // Bars and areas lie on each other; lines over lines need colours of their own.
    const fixed = Object.keys(asked).map((legend) => colors[legend] ?? bounds[legend]);
    const lines = !events && !stacked;
    if (lines) t.ok(fixed.every(Boolean), `${title}: each line has a colour`);
    const given = fixed.filter(Boolean);
    t.equal(new Set(given).size, given.length, `${title}: no colour twice`);
    if (lines) t.ok(Object.keys(asked).length <= 4, `${title}: four lines at most`);
    if (lines) t.notMatch(Object.keys(asked).join(), '{{', `${title}: as many lines as are listed`);
  }
  t.end();
});

t.test('Prometheus can read every query', { skip: missing('promtool') }, (t) => {
  const check = (all: readonly string[]) => {
    const rules = all.map((query, index) => ({
      record: `query${index}`,
      expr: query.replace(/\$__(rate_interval|range)/g, '5m').replace(/\$\w+/g, '.*'),
    }));
    const file = join(testDirectory(t, {}), 'rules.yaml');
    writeFileSync(file, stringify({ groups: [{ name: 'dashboard', rules }] }));
    return spawnSync('promtool', ['check', 'rules', file], { encoding: 'utf8' });
  };
  t.match(check(queries()), { status: 0, stdout: `${queries().length} rules found` });
  t.equal(check(['sum(berth_workers{) by']).status, 1, 'what it cannot read it refuses');
  t.end();
});

t.test('a lost login is shown before the first prompt', { skip: missing('promtool') }, (t) => {
  const panel = rows['At a glance']?.find(({ title }) => title === 'Prompts refused');
  const expr = panel?.queries.refused?.replaceAll('{@}', '');
  // A supervisor without a prompt has no berth_limit_closed.
  const names = ['berth_login_lost', 'berth_paused', 'berth_launch_failing{profile="default"}'];
  const tests = [1, 0].map((lost) => ({
    interval: '1m',
    input_series: names.map((series, index) => ({ series, values: String(index ? 0 : lost) })),
    promql_expr_test: [{ expr, eval_time: '0', exp_samples: [{ labels: '{}', value: lost }] }],
  }));
  const file = join(testDirectory(t, {}), 'test.yaml');
  writeFileSync(file, stringify({ evaluation_interval: '1m', tests }));
  const { status, stdout, stderr } = spawnSync('promtool', ['test', 'rules', file], {
    encoding: 'utf8',
  });
  t.equal(status, 0, stdout + stderr);
  t.end();
});

t.test(
  'the monitoring component scrapes the metrics port of the Service and adds the dashboard',
  { skip: cannotRender() },
  (t) => {
    const overlay = { resources: ['base'], components: ['monitoring'] };
    // biome-ignore lint/suspicious/noExplicitAny: manifests are matched, not computed with.
    const manifests: any[] = renderOverlay(testDirectory(t, {}), overlay);
    const only = (kind: string, name: string) =>
      manifests.find((each) => each.kind === kind && each.metadata.name === name);
    const service = only('Service', 'berth');
    const monitor = only('ServiceMonitor', 'berth');
    t.match(service?.metadata.labels, monitor?.spec.selector.matchLabels);
    const ports = service?.spec.ports.map(({ name }: { name: string }) => name);
    for (const { port, interval } of monitor?.spec.endpoints ?? []) {
      t.ok(ports.includes(port), port);
      t.equal(interval, scrapeInterval);
    }
    const dashboard = only('ConfigMap', 'berth-dashboard');
    t.equal(dashboard?.metadata.labels.grafana_dashboard, '1');
    const { uid, panels } = JSON.parse(dashboard?.data['berth.json']);
    t.equal(uid, 'berth');
    const titles = Object.entries(rows).flatMap(([row, panels]) => [
      row,
      ...panels.map(({ title }) => title),
    ]);
    t.same(
      panels.map(({ title }: { title: string }) => title),
      titles,
    );
    t.end();
  },
);

/** Why a test is skipped; in CI a missing tool is a failure. */
function missing(tool: string): string | false {
  const { error } = spawnSync(tool, ['--version']);
  return error && !isCi ? `${tool} is not installed` : false;
}
