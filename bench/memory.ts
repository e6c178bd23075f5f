/**
 * `npm run bench:memory`: measures leaks of 10, 60 and 200 MB/s in a memory cgroup of 1 GiB, under
 * berth and under pm2; the cost of one measurement of the guard; and the memory of workers, for the
 * size of a pod. Needs root, for the cgroup. Options: --leaks N (of each rate), --only
 * round|table|berth|podman|pm2, --json.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { countAnswers, type LeakSeries, leakInTurn } from '../test/soak/memory-leaks.ts';
import { leakUnderPm2 } from './memory-pm2.ts';
import { hasPodman, startBerthInPodman } from './memory-podman.ts';
import { measureRound } from './memory-round.ts';
import { printTable } from './memory-table.ts';
import { type Figure, quantile, report } from './report.ts';

const { values } = parseArgs({
  options: {
    leaks: { type: 'string', default: '2' },
    only: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const leaksOfEach = Number(values.leaks);
const rates = [200, 60, 10];
const directory = mkdtempSync(join(tmpdir(), 'berth-bench-memory-'));

function emptyDirectory(name: string): string {
  const path = join(directory, name);
  mkdirSync(path);
  return path;
}

/** A lost turn is a turn without an answer. */
function lost(series: LeakSeries): number {
  return [...series.leaks.map(({ reply }) => reply), ...series.others].filter(
    ({ status }) => status !== 200,
  ).length;
}

const figures: Figure[] = [];
const all = rates.flatMap((rate) => Array<number>(leaksOfEach).fill(rate));

async function leaksUnder(name: string, start?: typeof startBerthInPodman): Promise<void> {
  const berth = await leakInTurn({
    directory: emptyDirectory(name),
    rates: all,
    ...(start ? { start } : {}),
    onLeak: ({ rate, reply, decision, detection }) =>
      process.stdout.write(
        `  ${rate} MB/s: ${decision?.cause ?? 'no decision'}, detection ${detection} ms, answer ${reply.status} ${reply.body.code ?? ''}\n`,
      ),
  });
  process.stdout.write(`  ${name}, prompts meanwhile: ${countAnswers(berth.others)}\n`);
  const detections = berth.leaks.map(({ detection }) => detection);
  figures.push(
    { name: `leaks under ${name}`, value: berth.leaks.length, unit: '' },
    { name: `${name}: kernel kills`, value: berth.kernelKills, unit: '', target: 0 },
    { name: `${name}: lost turns`, value: lost(berth), unit: '', target: 0 },
    { name: `${name}: detection, p99`, value: quantile(detections, 0.99), unit: 'ms', target: 500 },
    { name: `${name}: detection, median`, value: quantile(detections, 0.5), unit: 'ms' },
  );
}

const parts: Record<string, () => Promise<void>> = {
  async round() {
    const value = await measureRound(emptyDirectory('round'));
    const name = 'a round, 8 workers of 5 processes, CPU';
    figures.push({ name, value, unit: 'ms', target: 5 });
  },
  table: () => printTable(emptyDirectory('table')),
  berth: () => leaksUnder('berth'),
  /** The same leaks in a real container. */
  async podman() {
    if (hasPodman()) return leaksUnder('podman', startBerthInPodman);
    process.stdout.write('\nThere is no podman, or no tini: berth in a container was left out\n');
  },
  /** The same leaks under pm2. */
  async pm2() {
    const pm2 = await leakUnderPm2({ directory: emptyDirectory('pm2'), rates: all });
    process.stdout.write(`  pm2, prompts meanwhile: ${countAnswers(pm2.others)}\n`);
    figures.push(
      { name: 'leaks under pm2', value: pm2.leaks.length, unit: '' },
      { name: 'pm2: kernel kills', value: pm2.kernelKills, unit: '' },
      { name: 'pm2: lost prompts', value: lost(pm2), unit: '' },
      { name: 'pm2: lost prompts that leaked', value: lost({ ...pm2, others: [] }), unit: '' },
    );
  },
};

try {
  const wanted = values.only === undefined ? Object.keys(parts) : [values.only];
  for (const name of wanted) {
    const part = parts[name];
    if (!part) throw new Error(`there is no part ${name}: ${Object.keys(parts).join(', ')}`);
    await part();
  }
  report('Memory: leaks in a cgroup of 1 GiB', figures);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
