/**
 * berth-init is killed without warning at many moments; the next run must end where an undisturbed
 * one would. A fixed sample of what `npm run soak:init` does at length. `BERTH_TEST_KILLS` sets how many.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { killRepeatedly } from '../soak/init-kills.ts';
import { testDirectory } from '../support/directory.ts';

const kills = Number(process.env.BERTH_TEST_KILLS ?? 8);
/** One volume each. */
const seeds = [1];

t.test('killed anywhere, the next run ends in the same state', async (t) => {
  const root = testDirectory(t);
  const found = new Set<string>();
  let struck = 0;
  const series = seeds.map((seed) => {
    const directory = join(root, `${seed}`);
    mkdirSync(directory);
    return killRepeatedly({
      directory,
      kills: kills / seeds.length,
      seed,
      onRound(round) {
        t.strictSame(round.problems, [], `after a kill during ${round.situation}`);
        found.add(round.found);
        if (round.killed) struck += 1;
      },
    });
  });
  await Promise.all(series);
  t.ok(struck >= kills / 2, 'half of the kills or more came before the end');
  t.ok(found.has('interrupted'), `found ${[...found].join()}`);
});
