/** A sample of `npm run soak:prompts`. */
import t from 'tap';
import { runPrompts } from '../soak/prompts-run.ts';

// 30 s of a quiet machine; of a busy one, more.
t.setTimeout(300_000);

t.test('mixed prompts and killed workers: one answer each, and nothing is left', async (t) => {
  const { outcomes, kills, looked, problems } = await runPrompts({
    directory: t.testdir({}),
    prompts: 60,
    seed: 7,
  });
  t.strictSame(problems, []);
  t.equal(outcomes.length, 60);
  t.ok(kills > 0);
  t.ok(looked > 30);
});
