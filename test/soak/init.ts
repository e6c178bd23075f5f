/**
 * `npm run soak:init`: kills berth-init 500 times and prints how it came through. Ends with 1 if it
 * did not. Options: --kills N, --seed N (the same seed makes the same series), --json.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { killRepeatedly, type Round } from './init-kills.ts';
import { situations } from './init-situations.ts';

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '500' },
    seed: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  },
});
const kills = Number(values.kills);
const seed = Number(values.seed);
const directory = mkdtempSync(join(tmpdir(), 'berth-soak-init-'));
const rounds: Round[] = [];
const started = performance.now();
try {
  await killRepeatedly({
    directory,
    kills,
    seed,
    onRound(round) {
      rounds.push(round);
      for (const problem of round.problems) {
        process.stdout.write(
          `kill ${rounds.length} (${round.situation}, by ${round.by}): ${problem}\n`,
        );
      }
    },
  });
} finally {
  rmSync(directory, { recursive: true, force: true });
}

const failed = rounds.filter(({ problems }) => problems.length > 0).length;
const median = (numbers: number[]) => numbers.sort((a, b) => a - b)[numbers.length >> 1] ?? 0;
const rows = [...situations, undefined].map((situation) => {
  const of = rounds.filter((round) => situation === undefined || round.situation === situation);
  const found = Map.groupBy(of, (round) => round.found);
  return {
    situation: situation ?? 'all',
    kills: of.length,
    'struck before the end': of.filter(({ killed }) => killed).length,
    'not recovered': of.filter(({ problems }) => problems.length > 0).length,
    'next run, median ms': Math.round(median(of.map(({ took }) => took))),
    'found by the next run': [...found].map(([state, all]) => `${state} ${all.length}`).join(', '),
  };
});
process.stdout.write(
  `${kills} kills, seed ${seed}, ${Math.round((performance.now() - started) / 1000)} s\n`,
);
const names = Object.keys(rows[0] ?? {});
for (const cells of [names, names.map(() => '---'), ...rows.map((row) => Object.values(row))]) {
  process.stdout.write(`| ${cells.join(' | ')} |\n`);
}
if (values.json) {
  const unit = 'kills';
  const figures = [
    { name: 'kills', value: rounds.length, unit, target: kills, ok: rounds.length >= kills },
    { name: 'not recovered', value: failed, unit, target: 0, ok: failed === 0 },
  ];
  process.stdout.write(`${JSON.stringify({ figures, seed, node: process.version })}\n`);
}
process.exitCode = failed > 0 ? 1 : 0;
