/**
 * The dashboard as a person sees it: a pod with traffic of every kind under a real Prometheus, and then
 * every query of every panel, asked as Grafana asks it, must show what has happened.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { dashboard } from '../../scripts/dashboard.ts';
import { testDirectory } from '../support/directory.ts';
import {
  type AskedTarget,
  allChosen,
  askPanels,
  chosen,
  type DashboardJson,
  fillVariables,
  legendOf,
} from '../support/grafana-queries.ts';
import { type ObservedPod, startObservedPod } from '../support/observed-pod.ts';
import { hasPrometheus } from '../support/prometheus.ts';
import { sendPrompt } from '../support/prompt.ts';
import { until } from '../support/until.ts';

const mebibyte = 2 ** 20;
const minute = 60_000;
/** Seconds between two scrapes. */
const interval = 0.5;
/**
 * How many times faster than the dashboard expects all goes. The dashboard expects 30 s between two scrapes; here it
 * expects eight intervals. A busy machine misses scrapes, and between the samples of two bars a count would be lost.
 */
const pace = 30 / (8 * interval);
/** Seconds that a bar of events stands for; Grafana shows no half ones. */
const bar = 300 / pace;
const skip = !hasPrometheus() && process.env.CI !== 'true' && 'Prometheus is not installed';

/** Of each query that may show nothing, or only zeros: why. By panel and legend. */
const quiet: Readonly<Record<string, string>> = {
  'Jobs that have not ended: running': 'no job is sent',
  'Jobs that have not ended: queued': 'no job is sent',
  'Jobs that have not ended: parked': 'no job is sent',
  'Jobs that have not ended: scheduled': 'no job is sent',
  'Jobs that ended: {{state}}': 'no job is sent',
  'Runs and callbacks: run {{outcome}}': 'no job is sent',
  'Runs and callbacks: callback {{outcome}}': 'no job is sent',
  'Runs and callbacks: approval {{outcome}}': 'nothing is asked',
  'Runs and callbacks: approval waits': 'nothing is asked',
  'Runs and callbacks: webhook {{outcome}}': 'nothing is asked',
  'Parked by reason: {{reason}}': 'no job is sent',
  'The oldest waits: ago': 'no job is sent',
  'The git server answered: ago': 'init does not stay',
  'Open proposal: files': 'init does not stay',
  'Left out of the proposal: {{reason}}': 'init does not stay',
  'Sync and proposals: sync: {{kind}}': 'init does not stay',
  'Sync and proposals: proposal: {{result}}': 'init does not stay',
  'Sync and proposals: proposal: {{how}}': 'init does not stay',
  'Requests to the gateway: {{operation}} {{outcome}}': 'init does not stay',
  'Prompts refused: refused': 'nobody pauses it, and no limit is reached',
  'Recycles and kills: killed by the kernel': 'berth is there to prevent that',
  'Restarts, 24 h: restarts': 'nobody restarts it',
  'What happened to the login: refresh {{reason}}': 'the login server answers',
};

t.test('every panel shows data after a pod has worked', { skip }, async (t) => {
  const observed = await startObservedPod(testDirectory(t, {}), {
    interval,
    memory: 2_048 * mebibyte,
    // The CLI refreshes it five minutes before: with the first prompts of each login.
    lifetime: 5 * minute + 1_000,
    refreshed: 480 * minute,
    settings: {
      BERTH_MAX_WORKERS: '2',
      BERTH_SHARED_SPARES: '0',
      BERTH_WORKER_MEMORY_SOFT: '500Mi',
      BERTH_WORKER_MEMORY_HARD: '600Mi',
      BERTH_DAILY_BUDGET_USD: '50',
    },
  });
  t.teardown(observed.close);
  const { prometheus } = observed;
  const start = Date.now() / 1_000;
  await haveItWork(t, observed);
  const end = Math.ceil(Date.now() / 1_000 / bar) * bar;
  await observed.scraped(end);
  const shown = { start, end, pace };
  const json = JSON.parse(JSON.stringify(dashboard())) as DashboardJson;
  const values = await fillVariables(prometheus, json, shown);
  t.same(Object.fromEntries(values), { namespace: ['tools'], job: ['berth'] });
  const asked = await askPanels(prometheus, json, shown, chosen(values));
  assertShown(t, asked);
  const all = await askPanels(prometheus, json, shown, allChosen(json));
  t.same(all.map(legends), asked.map(legends), 'all deployments are this one');
  t.same(
    asked.find(({ panel }) => panel.title === 'Errors')?.series.map((one) => one.metric),
    [{ outcome: 'turn_failed' }, { outcome: 'worker_recycled' }],
    'what has happened once is seen, and what has not is not in the legend',
  );
  const rules = await prometheus.rules();
  t.ok(rules.length > 15);
  t.same(
    rules.filter(({ health }) => health !== 'ok'),
    [],
  );
  await t.rejects(prometheus.range('sum(berth_workers) by', { start, end: start, step: 1 }));
});

function legends({ target, series }: AskedTarget): string[] {
  return series.map((one) => legendOf(target, one));
}

/** Each query shows something that is not 0, in a series that has what its legend names. */
function assertShown(t: Test, asked: readonly AskedTarget[]): void {
  t.ok(asked.length > 35);
  const nothing = asked.filter(({ series }) => {
    const numbers = series.flatMap(({ values }) => values.map(([, value]) => Number(value)));
    return !numbers.some((number) => Number.isFinite(number) && number !== 0);
  });
  const nameOf = ({ panel, target }: AskedTarget) => `${panel.title}: ${target.legendFormat}`;
  t.same(
    nothing.map(nameOf).filter((name) => !(name in quiet)),
    [],
    'nothing is shown of these',
  );
  t.same(
    Object.keys(quiet).filter((name) => !asked.some((each) => nameOf(each) === name)),
    [],
    'no panel has these',
  );
  for (const { panel, target, series } of asked) {
    const wanted = [...target.legendFormat.matchAll(/\{\{\s*(\w+)\s*\}\}/g)].map(
      ([, name]) => name,
    );
    for (const { metric } of series) {
      const missing = wanted.filter((name) => !metric[name ?? '']);
      t.same(missing, [], `${panel.title}: the legend ${target.legendFormat}`);
    }
    const names = series.map((one) => legendOf(target, one));
    t.equal(new Set(names).size, names.length, `${panel.title} calls each series another`);
  }
}

/** Traffic of every kind. */
async function haveItWork(t: Test, { world, pod, prometheus }: ObservedPod): Promise<void> {
  const { target } = pod;
  const send = (prompt: string, more: Record<string, unknown> = {}) =>
    sendPrompt(target, { prompt, ...more });
  const seen = (query: string) =>
    until(`${query} is seen`, async () => ((await prometheus.number(query)) ?? 0) > 0);
  world.kubernetes.fault({ kind: 'status', status: 500, times: 1 });
  world.logIn();
  await seen('sum(berth_credentials_events_total{event="adopted"})');
  await seen('sum(berth_write_back_failures_total)');
  const first = await send('[[say hello]]');
  await send('[[say again]]', { session_id: first.body.session_id });
  await send(`[[headers ${JSON.stringify(nearlyUsed())}]] [[say near]]`);
  await send('[[status 400 say it is not valid]]');
  for (const authorization of ['', 'Bearer of-nobody']) {
    await fetch(`${target.url}/v1/status`, { headers: { authorization } });
  }
  // Two of them run until a scrape has seen that two others wait.
  const wasSeen = join(world.directory, 'the-queue-was-seen');
  const command = JSON.stringify({ command: `until [ -e '${wasSeen}' ]; do sleep 0.1; done` });
  const held = `[[tool Bash ${command}]] [[say one of many]]`;
  const many = Array.from({ length: 4 }, () => send(held));
  await seen('berth_queue_length');
  writeFileSync(wasSeen, '');
  await Promise.all(many);
  const leak = JSON.stringify({ rate: 600, most: 4_000 });
  const leaking = `[[tool mcp__leak-1__leak ${leak}]] [[say carried on]]`;
  t.match(await send(leaking), { status: 200, body: { recycled: 1, recycle_reason: 'memory' } });
  const failed = await send(leaking, { on_recycle: 'fail' });
  t.match(failed, { status: 503, body: { code: 'worker_recycled' } });
}

/** How the API tells that much of a window is used. */
function nearlyUsed(): Record<string, string> {
  const prefix = 'anthropic-ratelimit-unified';
  const reset = String(Math.floor(Date.now() / 1_000) + 3_600);
  return {
    [`${prefix}-status`]: 'allowed_warning',
    [`${prefix}-reset`]: reset,
    [`${prefix}-representative-claim`]: 'seven_day',
    [`${prefix}-7d-utilization`]: '0.92',
    [`${prefix}-7d-reset`]: reset,
    [`${prefix}-7d-surpassed-threshold`]: '0.9',
  };
}
