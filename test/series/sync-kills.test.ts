/** A sample of `npm run soak:sync`. */
import t from 'tap';
import { Random } from '../soak/random.ts';
import { runSync } from '../soak/sync-run.ts';
import { testDirectory } from '../support/directory.ts';

t.test('pushes and kills while prompts run lose nothing and mix nothing', async (t) => {
  const directory = testDirectory(t, {});
  const random = new Random(7);
  const run = { pushes: 12, kills: 6, callers: 2, random: () => random.next() };
  const { problems, prompts, requests } = await runSync({ directory, ...run });
  t.same(problems, []);
  t.ok(prompts > 0);
  t.ok(requests > 0);
});
