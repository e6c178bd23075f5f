/**
 * berth-init is killed without warning at many moments; the next run must end where an undisturbed
 * one would. A fixed sample of what `npm run soak:init` does at length. `BERTH_TEST_KILLS` sets how many.
 */
import t from 'tap';
import { killRepeatedly } from '../soak/init-kills.ts';

const kills = Number(process.env.BERTH_TEST_KILLS ?? 60);

t.test('killed anywhere, the next run ends in the same state', async (t) => {
  const found = new Set<string>();
  let struck = 0;
  await killRepeatedly({
    directory: t.testdir(),
    kills,
    seed: 1,
    onRound(round) {
      t.strictSame(round.problems, [], `after a kill during ${round.situation}`);
      found.add(round.found);
      if (round.killed) struck += 1;
    },
  });
  t.ok(struck > kills / 2, 'most kills came before the end');
  t.ok(found.has('interrupted'), `found ${[...found].join()}`);
});
