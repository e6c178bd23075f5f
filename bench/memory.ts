/**
 * `npm run bench:memory`: leaks of 10, 60 and 200 MB/s in a memory cgroup of 1 GiB, under berth and
 * under pm2; what a round of the guard costs; and how much memory workers take, for sizing a pod.
 * Needs root, for the cgroup. Options: --leaks N (of each rate), --json.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { countAnswers, type LeakSeries, leakInTurn } from '../test/soak/memory-leaks.ts';
import { leakUnderPm2 } from './memory-pm2.ts';
import { measureRound } from './memory-round.ts';
import { printTable } from './memory-table.ts';
import { type Figure, quantile, report } from './report.ts';

const { values } = parseArgs({
  options: { leaks: { type: 'string', default: '2' }, json: { type: 'boolean', default: false } },
});
const leaksOfEach = Number(values.leaks);
const rates = [200, 60, 10];
const directory = mkdtempSync(join(tmpdir(), 'berth-bench-memory-'));

function emptyDirectory(name: string): string {
  const path = join(directory, name);
  mkdirSync(path);
  return path;
}

/** A lost turn is one without an answer. */
function lost(series: LeakSeries): number {
  return [...series.leaks.map(({ reply }) => reply), ...series.others].filter(
    ({ status }) => status !== 200,
  ).length;
}

async function main(): Promise<void> {
  const figures: Figure[] = [];
  const roundMs = await measureRound(emptyDirectory('round'));
  figures.push({
    name: 'a round, 8 workers of 5 processes, CPU',
    value: roundMs,
    unit: 'ms',
    target: 5,
  });
  await printTable(emptyDirectory('table'));
  const all = rates.flatMap((rate) => Array<number>(leaksOfEach).fill(rate));
  const berth = await leakInTurn({
    directory: emptyDirectory('berth'),
    rates: all,
    onLeak: ({ rate, reply, decision, detection }) =>
      process.stdout.write(
        `  ${rate} MB/s: ${decision?.cause ?? 'no decision'}, detection ${detection} ms, answer ${reply.status} ${reply.body.code ?? ''}\n`,
      ),
  });
  process.stdout.write(`  prompts meanwhile: ${countAnswers(berth.others)}\n`);
  const pm2 = await leakUnderPm2({ directory: emptyDirectory('pm2'), rates });
  process.stdout.write(`  pm2, prompts meanwhile: ${countAnswers(pm2.others)}\n`);
  const detections = berth.leaks.map(({ detection }) => detection);
  figures.push(
    { name: 'leaks under berth', value: berth.leaks.length, unit: '' },
    { name: 'berth: kernel kills', value: berth.kernelKills, unit: '', target: 0 },
    { name: 'berth: lost turns', value: lost(berth), unit: '', target: 0 },
    { name: 'berth: detection, p99', value: quantile(detections, 0.99), unit: 'ms', target: 500 },
    { name: 'berth: detection, median', value: quantile(detections, 0.5), unit: 'ms' },
    { name: 'leaks under pm2', value: pm2.leaks.length, unit: '' },
    { name: 'pm2: kernel kills', value: pm2.kernelKills, unit: '' },
    { name: 'pm2: lost prompts', value: lost(pm2), unit: '' },
  );
  report('Memory: leaks in a cgroup of 1 GiB', figures);
}

try {
  await main();
} finally {
  rmSync(directory, { recursive: true, force: true });
}
