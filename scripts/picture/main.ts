/**
 * `npm run docs:picture`: draws docs/dashboard.png, opt-in. A pod works for some minutes under a
 * mixed load and a real Prometheus. The script runs the dashboard's queries, and draws its JSON
 * with Grafana's own components. These are installed into a temporary folder, or into
 * GRAFANA_DIRECTORY, where later runs use them again. Needs root (to make a cgroup), prometheus,
 * chromium and pngquant. Options: --seconds N; --data FILE stores the answers of Prometheus in the
 * file, or draws the stored answers of an earlier run.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  askPanels,
  chosen,
  type DashboardJson,
  fillVariables,
} from '../../test/support/grafana-queries.ts';
import { startObservedPod } from '../../test/support/observed-pod.ts';
import { dashboard } from '../dashboard.ts';
import { type Drawing, draw, installGrafana } from './draw.ts';
import { haveItWork } from './load.ts';

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '240' }, data: { type: 'string' } },
});
/** Seconds between two scrapes; the dashboard expects 30. */
const interval = 1;
const pace = 30 / interval;
const minute = 60_000;
const largest = 300_000;
const json = JSON.parse(JSON.stringify(dashboard())) as DashboardJson;
const picture = join(import.meta.dirname, '../../docs/dashboard.png');

// A short path, because its paths are legends.
const root = mkdtempSync(join(tmpdir(), 'berth-'));
const data = values.data ?? join(root, 'data.json');
const installed = process.env.GRAFANA_DIRECTORY ?? join(root, 'grafana');
try {
  installGrafana(installed);
  const drawing = existsSync(data)
    ? (JSON.parse(readFileSync(data, 'utf8')) as Drawing)
    : await look(Number(values.seconds));
  writeFileSync(data, JSON.stringify(drawing));
  await draw(json, drawing, installed, join(root, 'page'), join(root, 'dashboard.png'));
  const few = ['--force', '--strip', '--speed=1', `--output=${picture}`, '128'];
  execFileSync('pngquant', [...few, join(root, 'dashboard.png')]);
  const { size } = statSync(picture);
  if (size > largest) throw new Error(`the picture has ${size} bytes`);
  process.stdout.write(`${picture}: ${size} bytes\n`);
} finally {
  rmSync(root, { recursive: true, force: true });
}

/** Runs the pod, then the queries of the dashboard. */
async function look(seconds: number): Promise<Drawing> {
  const observed = await startObservedPod(join(root, 'pod'), {
    interval,
    memory: 4 * 2 ** 30,
    lifetime: 5 * minute + 20_000,
    refreshed: 480 * minute,
    settings: {
      BERTH_MAX_WORKERS: '4',
      BERTH_WARM_WORKERS: '2',
      BERTH_WORKER_MEMORY_SOFT: '900Mi',
      BERTH_WORKER_MEMORY_HARD: '1200Mi',
      BERTH_DAILY_BUDGET_USD: '25',
      BERTH_WORKER_IDLE_TIMEOUT: '20s',
    },
  });
  try {
    const start = Date.now() / 1_000;
    await haveItWork(observed, seconds);
    await observed.scraped();
    const shown = { start, end: Date.now() / 1_000, pace, points: 500 };
    const variables = chosen(await fillVariables(observed.prometheus, json, shown));
    const asked = await askPanels(observed.prometheus, json, shown, variables);
    return { asked, from: shown.start, to: shown.end };
  } finally {
    await observed.close();
  }
}
