/**
 * Mixed prompts against four real workers, some of which are killed, and how each kind came through:
 * `npm run soak:prompts` sends 1,000; `npm run soak:kills` sends them until 200 workers were killed, at
 * any moment. Ends with 1 if anything is wrong. Options: --prompts N or --kills N, --seed N (the same
 * seed makes the same prompts), --json.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { kinds } from './prompts-mix.ts';
import { runPrompts } from './prompts-run.ts';

const { values } = parseArgs({
  options: {
    prompts: { type: 'string', default: '1000' },
    kills: { type: 'string' },
    seed: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  },
});
const prompts = Number(values.prompts);
const wantedKills = values.kills === undefined ? undefined : Number(values.kills);
const seed = Number(values.seed);
const directory = mkdtempSync(join(tmpdir(), 'berth-soak-prompts-'));
const started = performance.now();
const seconds = (): number => Math.round((performance.now() - started) / 1_000);
let done = 0;
const say = (line: string): void => void process.stdout.write(`${line}\n`);
try {
  const { outcomes, kills, busyKills, looked, before, after, problems } = await runPrompts({
    directory,
    seed,
    until: wantedKills === undefined ? { prompts } : { kills: wantedKills },
    onOutcome(outcome, problem) {
      done += 1;
      if (problem) say(`prompt ${done} (${outcome.kind}): ${problem}`);
      if (done % 50 === 0) say(`${done} prompts, ${seconds()} s`);
    },
  });
  for (const problem of problems) say(`wrong: ${problem}`);
  say(`${outcomes.length} prompts, seed ${seed}, ${seconds()} s`);
  say('| kind | prompts | carried on | ended as |');
  say('| --- | --- | --- | --- |');
  for (const kind of [...kinds, undefined]) {
    const of = outcomes.filter((outcome) => kind === undefined || outcome.kind === kind);
    const ends = [...Map.groupBy(of, ({ ended }) => ended)].sort(
      ([, a], [, b]) => b.length - a.length,
    );
    const list = ends.map(([ended, all]) => `${ended} ${all.length}`).join(', ');
    const recycled = of.filter((outcome) => outcome.recycled).length;
    say(`| ${kind ?? 'all'} | ${of.length} | ${recycled} | ${list} |`);
  }
  say(
    `${kills} workers killed (${busyKills} busy), ${looked} requests searched for canaries, ${before.descriptors} descriptors before and ${after.descriptors} after, ${after.strays} strays, ${problems.length} problems`,
  );
  const complete = wantedKills === undefined ? outcomes.length === prompts : kills === wantedKills;
  if (values.json) {
    const unit = 'prompts';
    const figures = [
      {
        name: 'prompts',
        value: outcomes.length,
        unit,
        ...(wantedKills === undefined ? { target: prompts } : {}),
        ok: complete,
      },
      { name: 'workers killed', value: kills, unit: 'workers', ok: complete },
      {
        name: 'problems',
        value: problems.length,
        unit: 'problems',
        target: 0,
        ok: problems.length === 0,
      },
    ];
    say(JSON.stringify({ figures, seed, node: process.version }));
  }
  process.exitCode = problems.length > 0 || !complete ? 1 : 0;
} finally {
  rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
}
