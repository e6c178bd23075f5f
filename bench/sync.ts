/**
 * `npm run bench:sync`: the time from a push to the first prompt that obeys it, by webhook and by
 * interval, with the real CLI and the stand-in Messages API; and what an idle interval costs.
 * Options: --pushes N, --json.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { imageArguments, takeSnapshot } from '../scripts/bundle-init.ts';
import { realClaude } from '../test/support/claude.ts';
import { type SyncedPrograms, startSyncedPrograms } from '../test/support/synced-programs.ts';
import { cpuOf, residentOf } from './proc.ts';
import { type Figure, quantile, report } from './report.ts';

const { values } = parseArgs({
  options: { pushes: { type: 'string', default: '20' }, json: { type: 'boolean' } },
});
const pushes = Number(values.pushes);
/** Milliseconds of the interval, and of the measured idle time. */
const interval = 2_000;
const idle = 10_000;
const directory = mkdtempSync(join(tmpdir(), 'berth-bench-sync-'));
const figures: Figure[] = [];
try {
  const bundles = join(directory, 'bundles');
  cpSync(join(import.meta.dirname, '../dist'), bundles, { recursive: true });
  takeSnapshot(bundles);
  const initStart = imageArguments(bundles);
  await measure('webhook', '1h', initStart, 3_000);
  await measure('interval', '2s', initStart, interval + 3_000);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
report('sync', figures);

async function measure(
  name: string,
  every: string,
  initStart: readonly string[],
  target: number,
): Promise<void> {
  const pod = await startSyncedPrograms({
    ...{ directory: join(directory, name), cli: realClaude, interval: every, initStart },
    files: { 'CLAUDE.md': 'canary 0\n', 'settings.json': '{}\n' },
    settings: { BERTH_WARM_WORKERS: '1', BERTH_MAX_WORKERS: '3' },
  });
  try {
    await pod.prompt('[[say ready]]');
    if (name === 'interval') await measureIdle(pod);
    const times: number[] = [];
    for (let count = 1; count <= (name === 'interval' ? pushes / 2 : pushes); count += 1) {
      times.push(await pushAndObey(pod, count, name === 'interval'));
    }
    figures.push(
      {
        name: `push to first obeying prompt, ${name}, p50`,
        value: quantile(times, 0.5),
        unit: 'ms',
      },
      {
        name: `push to first obeying prompt, ${name}, p99`,
        value: quantile(times, 0.99),
        unit: 'ms',
        target,
      },
    );
  } finally {
    await pod.stop();
  }
}

/** Milliseconds from the push to the acceptance of the first prompt that obeys it. */
async function pushAndObey(pod: SyncedPrograms, count: number, silent: boolean): Promise<number> {
  const commit = await pod.push({ 'CLAUDE.md': `canary ${count}\n` }, silent);
  const pushed = performance.now();
  for (;;) {
    const { body } = await pod.prompt('[[say ok]]');
    if (body.config_commit === commit) return performance.now() - pushed;
    if (performance.now() - pushed > 60_000) throw new Error('no prompt obeys the push');
  }
}

async function measureIdle(pod: SyncedPrograms): Promise<void> {
  const { pid } = pod.programs.init;
  const received = async () =>
    Number(/^berth_sync_received_bytes_total (\d+)/m.exec(await pod.metrics())?.[1]);
  const checks = async () =>
    Number(/^berth_sync_checks_total\{result="unchanged"\} (\d+)/m.exec(await pod.metrics())?.[1]);
  const [cpu, bytes, before] = [cpuOf(pid), await received(), await checks()];
  await new Promise((resolve) => setTimeout(resolve, idle));
  const done = (await checks()) - before;
  figures.push(
    { name: 'idle interval, CPU', value: (cpuOf(pid) - cpu) / done, unit: 'ms' },
    {
      name: 'idle interval, received',
      value: ((await received()) - bytes) / done / 1_000,
      unit: 'kB',
    },
    { name: 'memory at rest', value: residentOf(pid), unit: 'MB', target: 90 },
  );
}
